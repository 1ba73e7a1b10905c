"""`python -m benchmarks.runner`: every round measures each row once, and each row takes its targets in turn."""

import sys

from . import machine, plot, report, session
from .bench import Bench
from .processes import Processes
from .rows import ROWS
from .servers import Deployment
from .settings import ROOT, Settings

FULL_ROUNDS = 5


def main():
    settings = Settings.read(tuple(ROWS))
    out = settings.scratch()
    with Processes() as processes:
        described = machine.describe(settings, processes.dir)
        bench = Bench(settings, Deployment(settings, processes))
        rows = [(name, ROWS[name]) for name in settings.rows]
        for name, row in rows:
            session.timed(f"preparing {name}", row.prepare, bench)
        for round_ in range(settings.rounds):
            bench.round = round_
            for name, row in rows:
                session.timed(f"round {round_ + 1} of {settings.rounds}: {name}", row.measure, bench)

    # What is published is a whole run; anything less is for the eyes of who made it.
    whole = settings.rows == tuple(ROWS) and settings.rounds >= FULL_ROUNDS and settings.scale >= 1
    directory = ROOT / "benchmarks" if whole else out
    bench.samples.save(out / "samples.json")
    text = report.results(settings, bench.samples, described)
    (directory / "RESULTS.md").write_text(text)
    plot.results(bench.samples, directory / "results.svg")
    print(text)
    print(f"bench: written to {directory}/RESULTS.md and results.svg", file=sys.stderr)


if __name__ == "__main__":
    session.run(main)
