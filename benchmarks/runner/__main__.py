"""`python -m benchmarks.runner`: every round measures each row once, and each row takes its targets in turn."""

import resource
import signal
import sys
import time

from . import machine, report
from .bench import Bench
from .failure import Failure
from .processes import Processes
from .rows import ROWS
from .servers import Deployment
from .settings import ROOT, Settings

FULL_ROUNDS = 5


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        settings = Settings.read(tuple(ROWS))
        raise_file_limit()
        measure(settings)
    except Failure as failure:
        sys.exit(f"bench: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


def measure(settings):
    out = settings.target / "bench"
    out.mkdir(parents=True, exist_ok=True)
    with Processes() as processes:
        described = machine.describe(settings, processes.dir)
        bench = Bench(settings, Deployment(settings, processes))
        rows = [(name, ROWS[name]) for name in settings.rows]
        for name, row in rows:
            timed(f"preparing {name}", lambda row=row: row.prepare(bench))
        for round_ in range(settings.rounds):
            bench.round = round_
            for name, row in rows:
                timed(f"round {round_ + 1} of {settings.rounds}: {name}", lambda row=row: row.measure(bench))
        bench.samples.save(out / "samples.json")
        text = report.results(settings, bench.samples, described)

    # What is published is a whole run; anything less is for the eyes of who made it.
    whole = settings.rows == tuple(ROWS) and settings.rounds >= FULL_ROUNDS and settings.scale >= 1
    path = (ROOT / "benchmarks" if whole else out) / "RESULTS.md"
    path.write_text(text)
    print(text)
    print(f"bench: written to {path}", file=sys.stderr)


def timed(what, work):
    start = time.monotonic()
    work()
    print(f"{what}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)


def raise_file_limit():
    """As far as the system allows: thousands of connections are held at a time, and the servers inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
