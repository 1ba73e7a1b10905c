"""`python -m benchmarks.runner.curves`."""

import os
import sys
import time

from .. import machine, session
from ..bench import Bench
from ..processes import Processes
from ..servers import Deployment
from ..settings import ROOT, Settings, number
from . import report
from .axes import Connections, Depth, Keys, Shards, ValueSize

FULL_ROUNDS = 3
LIMIT_MINUTES = 25


def main():
    axes = {axis.name: axis for axis in (Connections(), Depth(), ValueSize(), Shards(), Keys())}
    settings = Settings.read(tuple(axes), rounds=FULL_ROUNDS)
    chosen = [axes[name] for name in settings.rows]
    deadline = time.monotonic() + 60 * number("LIMIT_MINUTES", LIMIT_MINUTES, 1, 1440)
    out = settings.scratch()
    with Processes() as processes:
        described = machine.describe(settings, processes.dir)
        bench = Bench(settings, Deployment(settings, processes))
        for axis in chosen:
            session.timed(f"preparing {axis.name}", axis.prepare, bench)
        left_out = sweep(bench, [axis for axis in chosen if not isinstance(axis, Keys)], settings.rounds, deadline)
        left_out += sweep(bench, [axis for axis in chosen if isinstance(axis, Keys)], 1, deadline)

    # As with RESULTS.md: what is published is a whole run.
    whole = len(chosen) == len(axes) and settings.rounds >= FULL_ROUNDS and settings.scale >= 1
    directory = ROOT / "benchmarks" if whole else out
    bench.samples.save(out / "curves.json")
    text = report.curves(bench.samples, chosen, described, settings, command(), left_out)
    (directory / "CURVES.md").write_text(text)
    report.draw(bench.samples, chosen, directory / "curves.svg")
    print(text)
    print(f"bench: written to {directory}/CURVES.md and curves.svg", file=sys.stderr)


def sweep(bench, axes, rounds, deadline):
    """What was left out, since there was no time or no disk."""
    left_out = []
    for round_ in range(rounds):
        bench.round = round_
        for axis in axes:
            for point in axis.points:
                left = deadline - time.monotonic()
                reason = "the time was up" if left <= 0 else axis.fits(bench, point, left)
                if reason is not None:
                    left_out.append(f"{axis.title.lower()} {point:,} in round {round_ + 1}: {reason}")
                    continue
                session.timed(f"round {round_ + 1} of {rounds}: {axis.name} {point:,}", axis.measure, bench, point)
    return left_out


def command():
    names = ("ROWS", "ROUNDS", "SCALE", "MAX_KEYS", "LIMIT_MINUTES")
    return " ".join(["make bench-curve", *(f"{name}={os.environ[name]}" for name in names if os.environ.get(name))])


if __name__ == "__main__":
    session.run(main)
