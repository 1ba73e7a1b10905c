"""`python -m benchmarks.runner.overload`: what is left of the peak when clients offer three times as much.

The peak is the highest rate of a closed loop: so many connections and so deep that more of either serves no more. Then
as many requests as three times the peak are due each second (a Poisson process), on so many connections that the queues
of the proxy are full. What is served, what is refused, how long the served ones took from being sent, and the most memory
that the proxy had, are noted. Afterwards the peak is measured once more: it is the mean of before and after.
"""

import os
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace

from . import machine, session
from .bench import Bench
from .failure import Failure
from .processes import Processes
from .procfs import resident_bytes
from .servers import Deployment
from .settings import KEYS, ROOT, VALUE_BYTES, Settings

ROUNDS = 5
SECONDS = 8
ONSET_SECONDS = 5
TIMES = 3
SHARDS = 3

PEAK = ({"connections": 50, "depth": 16}, {"connections": 100, "depth": 32}, {"connections": 100, "depth": 128})
"""Loads of which the best serves as the peak."""

OVERLOADS = ({"connections": 800, "depth": 128}, {"connections": 1600, "depth": 128})
"""A hundred thousand requests under way are more than the queues of three shards are for; twice as many are more than is
served in the time that a request may wait."""

KINDS = {
    "set": "SET",
    "miss": "GET that misses",
    "hit": "GET that hits",
}


def main():
    settings = apart(Settings.read(tuple(KINDS), rounds=ROUNDS))
    out = settings.scratch()
    with Processes() as processes:
        described = machine.describe(settings, processes.dir)
        bench = Bench(settings, Deployment(settings, processes))
        databases = bench.deployment.postgres.databases("overload", number=SHARDS)
        for round_ in range(settings.rounds):
            bench.round = round_
            for kind in settings.rows:
                label = f"round {round_ + 1} of {settings.rounds}: {KINDS[kind]}"
                session.timed(label, measure, bench, kind, databases)
    whole = settings.rows == tuple(KINDS) and settings.rounds >= ROUNDS and settings.scale >= 1
    directory = ROOT / "benchmarks" if whole else out
    bench.samples.save(out / "overload.json")
    text = report(bench.samples, settings, described)
    (directory / "OVERLOAD.md").write_text(text)
    print(text)
    print(f"bench: written to {directory}/OVERLOAD.md", file=sys.stderr)


def apart(settings):
    """Servers and clients have processors of their own: what clients spend on asking for more than they get is nothing
    that a server could save. All servers are started by this process, and inherit where it may run."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise Failure("one processor: servers and clients need one each")
    half = len(processors) // 2
    os.sched_setaffinity(0, processors[:half])
    return replace(settings, client_processors=tuple(processors[half:]))


def measure(bench, kind, databases):
    # What is read from shards must not be in the cache: each key is asked for once.
    settings = {} if kind != "miss" else {"cache_ttl": 1}
    with bench.deployment.fresh_respgres(f"overload-{kind}", databases, **settings) as proxy:
        options = load_options(bench, kind)
        bench.fill(proxy)
        seconds = bench.settings.seconds(SECONDS)
        operation = "set" if kind == "set" else "get"
        closed = {"seconds": seconds / 2, "warm_up_seconds": 1, **options}
        rates = [bench.load(proxy, operation, **closed, **load)["rate"] for load in PEAK]
        best = PEAK[rates.index(max(rates))]
        before = max(rates)
        for overload in OVERLOADS:
            with most_memory(proxy.server.pid) as memory:
                answer = bench.load(
                    proxy, operation, seconds=seconds, warm_up_seconds=ONSET_SECONDS, rate=round(TIMES * before), **options,
                    **overload, may_be_refused=None,
                )
            # Nothing is refused any more, and it is as fast as before: that the machine became slower is not overload.
            after = bench.load(proxy, operation, **closed, **best)["rate"]
            answered = answer["operations"] + answer["refused"]
            peak = (before + after) / 2
            bench.add(
                prefix(kind, overload),
                peak=peak,
                after=after / before,
                served=answer["rate"],
                part=answer["rate"] / peak,
                answered=answered / seconds / peak,
                refused=answer["refused"] / max(1, answered),
                p50_ms=answer["served_us"]["p50"] / 1e3,
                p99_ms=answer["served_us"]["p99"] / 1e3,
                max_ms=answer["served_us"]["max"] / 1e3,
                memory_mib=memory.bytes / 2**20,
            )
            before = after


def prefix(kind, overload):
    return f"overload/{kind}/{overload['connections']}"


def load_options(bench, kind):
    same = {"value_bytes": VALUE_BYTES}
    if kind == "miss":
        # Far more keys than are read while one of them is cached; most do not exist, which is a read of the shard, too.
        return {**same, "num_keys": 10**9, "first_key": (bench.round + 1) * 10**10}
    return {**same, "num_keys": KEYS}


class _Most:
    bytes = 0


@contextmanager
def most_memory(pid):
    """The most resident memory of a process within the context, looked at ten times a second."""
    most, over = _Most(), threading.Event()

    def watch():
        while not over.wait(0.1):
            most.bytes = max(most.bytes, resident_bytes(pid))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield most
    finally:
        over.set()
        watching.join()


def report(samples, settings, described):
    depth = OVERLOADS[0]["depth"]
    lines = [
        "# Overload",
        "",
        f"Made by `{command()}`.",
        "",
        *(f"- {line}" for line in described),
        "",
        f"Requests for {TIMES} times the peak are due, on so many connections, over {SHARDS} shards and a Redis; looked at"
        f" from {ONSET_SECONDS} s after the first; medians of"
        f" {settings.rounds} rounds, with the range. A connection sends {depth} together, and the next {depth} when the last"
        " one was answered: so many can't be served in time, and what a client has due beyond that waits in it. Answered"
        " is what was served or refused. One half of the processors is for the servers and one for the clients. The time"
        " is that of what was served, from being sent to its reply.",
        "",
        "| | connections | peak a second | and afterwards, of before | served a second, of the peak | answered, of the peak |"
        " refused, of that | p50 ms | p99 ms | longest ms | memory MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for kind in settings.rows:
        for overload in OVERLOADS:
            at = lambda figure, of=prefix(kind, overload): samples.spread(f"{of}/{figure}")
            figures = [at("peak").text(0), at("after").text(2), at("part").text(2)]
            figures += [at("answered").text(2), at("refused").text(2)]
            figures += [at(name).text(0) for name in ("p50_ms", "p99_ms", "max_ms", "memory_mib")]
            lines.append(f"| {KINDS[kind]} | {overload['connections']} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def command():
    names = ("ROWS", "ROUNDS", "SCALE")
    return " ".join(["make bench-overload", *(f"{name}={os.environ[name]}" for name in names if os.environ.get(name))])


if __name__ == "__main__":
    session.run(main)
