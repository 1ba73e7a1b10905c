"""SET, durable when it is acknowledged."""

from ..bench import CpuMeter, add_cpu
from ..marks import Mark
from ..plain_tables import CLIENTS, HUNDRED
from ..settings import CONNECTIONS, DEPTHS, KEYS, SHARDS, VALUE_BYTES
from .get import deep

SECONDS = 2.5


def prepare(bench):
    bench.fill(bench.deployment.respgres)
    bench.fill(bench.deployment.embedded)
    bench.plain_tables.upsert(seconds=1)


def measure(bench):
    measure_pgbench(bench, "one", bench.plain_tables.upsert, 1)
    for depth in DEPTHS:
        for name in ("respgres", "embedded"):
            target = getattr(bench.deployment, name)
            bench.calibrate(target, "set", depth)
            bench.settle_disk(f"set/{depth}/{name}")
            with CpuMeter(target.parts) as meter:
                requests, rate = bench.redis_benchmark(target, "set", depth, SECONDS)
            target.check()
            bench.add(f"set/{depth}/{name}", rate=rate)
            add_cpu(bench, f"set/{depth}/{name}", meter, requests)
    measure_pgbench(bench, "hundred", bench.plain_tables.upsert_hundred, HUNDRED)


def measure_pgbench(bench, name, script, rows):
    seconds = bench.settings.seconds(SECONDS)
    bench.settle_disk(f"set/pgbench/{name}")
    with CpuMeter({"PostgreSQL": bench.deployment.postgres.server}) as meter:
        done = script(seconds=seconds)
    bench.add(f"set/pgbench/{name}", rate=done.per_second * rows)
    add_cpu(bench, f"set/pgbench/{name}", meter, done.transactions * rows)


def report(samples):
    disk = samples.spread_of_all("disk/set/")
    lines = [
        "## Durable SET",
        "",
        f"`redis-benchmark -t set -c {CONNECTIONS} -r {KEYS} -d {VALUE_BYTES}`, beside `pgbench -M prepared`: {SHARDS}"
        f" at once, one for each database of the same server, {CLIENTS} clients each, a table with the same columns, as"
        f" many keys, values of the same size. fsync and synchronous_commit are on. Before these runs a write of 8 KiB"
        f" with fdatasync took {disk.text()} µs.",
        "",
        "| | pipeline | rows a second | of pgbench, one row |",
        "|---|---:|---:|---:|",
    ]
    shown = [
        ("pgbench, one row a statement", "", "pgbench/one"),
        (f"pgbench, {HUNDRED} rows a statement", "", "pgbench/hundred"),
    ]
    for depth in DEPTHS:
        shown.append(("respgres, 3 PostgreSQL shards and a Redis", depth, f"{depth}/respgres"))
        shown.append(("respgres, embedded (SQLite, no PostgreSQL)", depth, f"{depth}/embedded"))
    for text, depth, name in shown:
        rate = f"set/{name}/rate"
        ratio = samples.ratio(rate, "set/pgbench/one/rate")
        lines.append(f"| {text} | {depth} | {samples.spread(rate).text()} | {ratio.text(2)} |")
    return "\n".join(lines)


def marks(samples):
    found = []
    for depth, bound in zip(DEPTHS, (2.5, 6)):
        ratio = samples.ratio(f"set/{depth}/respgres/rate", "set/pgbench/one/rate")
        found.append(Mark(2, f"SET, {deep(depth)}", f"at least {bound} × pgbench's upserts", bound, ratio))
    return found
