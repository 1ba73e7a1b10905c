"""How a run begins, and how it ends early."""

import resource
import signal
import sys
import time

from .failure import Failure


def run(main):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # As far as the system allows: thousands of connections are held at a time, and the servers inherit it.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        main()
    except Failure as failure:
        sys.exit(f"bench: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


def timed(what, work, *arguments):
    """Does it, and says on standard error how long it took."""
    start = time.monotonic()
    work(*arguments)
    print(f"{what}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
