"""The command line of the scripts beside this, and how sections are run."""

import argparse
import sys
import traceback

ANY_BYTES = bytes(range(256))


def arguments():
    """What the command line says. With --pure-python, hiredis can't be imported from here on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module", choices=["redis", "valkey"])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--pure-python", action="store_true", help="do without hiredis")
    parser.add_argument("--cacert", metavar="FILE", help="speak TLS, and trust this authority alone")
    parser.add_argument("--cert", metavar="FILE", help="the certificate to show then")
    parser.add_argument("--key", metavar="FILE", help="its key")
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    options = parser.parse_args()
    if options.pure_python:
        sys.modules["hiredis"] = None
    return options


def secured(options):
    """What a client is told of TLS."""
    if options.cacert is None:
        return {}
    # Releases before 6 do not look at the name unless they are told to.
    tls = {"ssl": True, "ssl_ca_certs": options.cacert, "ssl_check_hostname": True}
    if options.cert is not None:
        tls |= {"ssl_certfile": options.cert, "ssl_keyfile": options.key}
    return tls


def run_sections(client, sections, wanted, run):
    """Runs the sections named, or all; ends the program with 1 if one has failed."""
    unknown = set(wanted) - {section.__name__ for section in sections}
    if unknown:
        sys.exit(f"no such section: {', '.join(sorted(unknown))}")
    failed = []
    for section in sections:
        if not wanted or section.__name__ in wanted:
            try:
                run(section)
            except Exception:
                failed.append(section.__name__)
                print(f"--- {client}: {section.__name__}", file=sys.stderr)
                traceback.print_exc()
    if failed:
        sys.exit(f"{client}: failed: {', '.join(failed)}")
    print(f"{client}: {len(wanted or sections)} sections passed")
