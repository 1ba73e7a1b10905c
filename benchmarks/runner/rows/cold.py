"""GET of keys that no cache has."""

from .. import reads
from ..bench import CpuMeter, add_cpu
from ..failure import Failure
from ..marks import Mark
from ..plain_tables import CLIENTS
from ..settings import CONNECTIONS, DEPTHS, SHARDS, VALUE_BYTES
from .get import deep

FIRST_KEY = 10**9
"""Above the keys of the other rows."""

KEYS_A_RUN = 100_000
SECONDS = 3


def prepare(bench):
    """Keys for every run of every round, so that each is read just once. A run's keys are from all over the table."""
    keys = _runs(bench) * _keys_a_run(bench)
    answer = bench.load(
        bench.deployment.respgres,
        "set",
        order="once",
        depth=64,
        first_key=FIRST_KEY,
        num_keys=keys,
        value_bytes=VALUE_BYTES,
    )
    bench.deployment.postgres.settle(bench.deployment.shard_databases)
    bench.plain_tables.make("cold", answer["operations"])
    bench.add("cold", rows=keys)


def _runs(bench):
    return bench.settings.rounds * len(DEPTHS)


def _keys_a_run(bench):
    return max(bench.settings.count(KEYS_A_RUN), 200_000 // _runs(bench) if bench.settings.scale == 1 else 0)


def measure(bench):
    with CpuMeter({"PostgreSQL": bench.deployment.postgres.server}) as meter:
        done = bench.plain_tables.select("cold", seconds=bench.settings.seconds(SECONDS))
    bench.add("cold/pgbench", rate=done.per_second)
    add_cpu(bench, "cold/pgbench", meter, done.transactions)

    target = bench.deployment.respgres
    for position, depth in enumerate(DEPTHS):
        run = bench.round * len(DEPTHS) + position
        with reads.only("misses", target, f"cold GET, {deep(depth)}"), CpuMeter(target.parts) as meter:
            answer = bench.load(
                target,
                "get",
                order="once",
                depth=depth,
                connections=CONNECTIONS,
                first_key=FIRST_KEY + run,
                key_step=_runs(bench),
                num_keys=_keys_a_run(bench),
            )
        if answer["absent"]:
            raise Failure(f"cold GET, {deep(depth)}: {answer['absent']} of {answer['operations']} keys are not there")
        bench.add(f"cold/{depth}", rate=answer["rate"])
        add_cpu(bench, f"cold/{depth}/respgres", meter, answer["operations"])


def report(samples):
    rows = round(samples.spread("cold/rows").median)
    lines = [
        "## Cold GET",
        "",
        f"{CONNECTIONS} connections, each key read once, its value of {VALUE_BYTES} bytes found in no cache; misses"
        f" counted. Beside `pgbench -M prepared` with `SELECT value … WHERE key = …`, {SHARDS} at once with {CLIENTS}"
        f" clients each, as many rows ({rows:,}) in as many databases. The machine has the tables in its memory.",
        "",
        "| | pipeline | reads a second | of pgbench |",
        "|---|---:|---:|---:|",
        f"| pgbench, SELECT | | {samples.spread('cold/pgbench/rate').text()} | 1.00 |",
    ]
    for depth in DEPTHS:
        rate = samples.spread(f"cold/{depth}/rate")
        lines.append(
            f"| respgres, GET, every one a miss | {depth} | {rate.text()} | {_ratio(samples, depth).text(2)} |"
        )
    return "\n".join(lines)


def _ratio(samples, depth):
    return samples.ratio(f"cold/{depth}/rate", "cold/pgbench/rate")


def marks(samples):
    return [
        Mark(3, f"cold GET, {deep(depth)}", "at least 1.5 × pgbench's SELECT", 1.5, _ratio(samples, depth))
        for depth in DEPTHS
    ]
