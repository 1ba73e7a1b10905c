"""What one client waits for a SET, with nobody else there."""

from ..marks import Mark
from ..settings import KEYS, VALUE_BYTES

SECONDS = 2


def prepare(bench):
    bench.fill(bench.deployment.respgres)
    bench.plain_tables.upsert(seconds=1)


def measure(bench):
    seconds = bench.settings.seconds(SECONDS)
    bench.settle_disk("alone")
    one = bench.plain_tables.databases[:1]
    done = bench.plain_tables.upsert(seconds=seconds, clients=1, databases=one, latencies=True)
    bench.add("alone/pgbench", mean=done.mean_us, median=done.median_us)
    answer = bench.load(
        bench.deployment.respgres, "set", seconds=seconds, connections=1, num_keys=KEYS, value_bytes=VALUE_BYTES
    )
    bench.add("alone/respgres", mean=answer["latency_us"]["mean"], median=answer["latency_us"]["p50"])


def report(samples):
    lines = [
        "## One client alone",
        "",
        "SET on one connection, each after the last one's reply, beside one client of pgbench and the same upsert.",
        "",
        "| | mean µs | median µs |",
        "|---|---:|---:|",
    ]
    for name, text in (("pgbench", "pgbench, one row a statement"), ("respgres", "respgres, SET")):
        mean, median = (samples.spread(f"alone/{name}/{figure}") for figure in ("mean", "median"))
        lines.append(f"| {text} | {mean.text()} | {median.text()} |")
    mean, median = (_ratio(samples, figure) for figure in ("mean", "median"))
    lines.append(f"| respgres / pgbench | {mean.text(2)} | {median.text(2)} |")
    return "\n".join(lines)


def _ratio(samples, figure):
    return samples.ratio(f"alone/respgres/{figure}", f"alone/pgbench/{figure}")


def marks(samples):
    return [
        Mark(
            2,
            f"SET by one client, {figure}",
            "at most 1.3 × pgbench's",
            1.3,
            _ratio(samples, figure),
            at_least=False,
            within=True,
        )
        for figure in ("mean", "median")
    ]
