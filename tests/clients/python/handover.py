"""Counts through a change of proxies, with nothing but the client's own retries: HOST PORT STOP_FILE.

Prints how often it counted. Ends with an error if the client raised one, or a count was lost or done twice.
"""

import os
import sys

import redis


def main() -> None:
    host, port, stop = sys.argv[1:4]
    client = redis.Redis(host=host, port=int(port))
    counted = 0
    while not os.path.exists(stop):
        counted += 1
        answer = client.incr("handover:redis-py")
        if answer != counted:
            sys.exit(f"the {counted}th count was answered with {answer}")
    print(counted)


if __name__ == "__main__":
    main()
