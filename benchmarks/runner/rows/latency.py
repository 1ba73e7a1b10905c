"""Latencies at 70 % of the highest rate, counted from when a request was due."""

from .. import reads
from ..generators import WARM_UP_S
from ..marks import Mark
from ..plain_tables import CLIENTS
from ..settings import CONNECTIONS, KEYS, SHARDS, VALUE_BYTES

SHARE = 0.7
HIGHEST_SECONDS = 1.5
SECONDS = 3

NAMES = {
    "get/redis": "Redis, GET, at respgres's rate",
    "get/respgres": "respgres, GET that hits",
    "set/pgbench": "pgbench, upsert of one row, `--rate`",
    "set/respgres": "respgres, SET",
}


def prepare(bench):
    bench.fill(bench.deployment.redis)
    bench.fill(bench.deployment.respgres)
    bench.plain_tables.upsert(seconds=1)


def measure(bench):
    redis, respgres = bench.deployment.redis, bench.deployment.respgres
    bench.warm(respgres)
    rate = SHARE * _highest(bench, respgres, "get")
    # In turns, so that neither always comes first.
    pair = [("redis", redis), ("respgres", respgres)]
    with reads.only("hits", respgres, "GET at a rate"):
        for name, target in pair if bench.round % 2 else reversed(pair):
            _add(bench, f"latency/get/{name}", rate, _paced(bench, target, "get", rate))

    bench.settle_disk("latency")
    rate = SHARE * _highest(bench, respgres, "set")
    _add(bench, "latency/set/respgres", rate, _paced(bench, respgres, "set", rate))

    done = bench.plain_tables.upsert(seconds=bench.settings.seconds(HIGHEST_SECONDS))
    rate = SHARE * bench.highest("latency/pgbench", done.per_second)
    done = bench.plain_tables.upsert(seconds=bench.settings.seconds(SECONDS), rate=rate, latencies=True)
    bench.add("latency/set/pgbench", asked=rate, rate=done.per_second, p50=done.median_us, p99=done.p99_us)


def _highest(bench, target, operation):
    answer = bench.load(target, operation, seconds=bench.settings.seconds(HIGHEST_SECONDS))
    return bench.highest(f"latency/{operation}", answer["rate"])


def _paced(bench, target, operation, rate):
    return bench.load(
        target,
        operation,
        seconds=bench.settings.seconds(SECONDS),
        warm_up_seconds=WARM_UP_S,
        rate=rate,
        connections=CONNECTIONS,
        num_keys=KEYS,
        value_bytes=VALUE_BYTES,
    )


def _add(bench, prefix, asked, answer):
    latency = answer["latency_us"]
    bench.add(prefix, asked=asked, rate=answer["rate"], p50=latency["p50"], p99=latency["p99"])


def report(samples):
    lines = [
        "## Latency under load",
        "",
        f"Requests are due at random moments, {SHARE:.0%} of the highest rate in the mean; a latency counts from then,"
        f" also while all of the {CONNECTIONS} connections ({SHARDS} × {CLIENTS} clients of pgbench) are busy. GET: the"
        " same rate for both, by the highest of respgres. SET: each by the highest of its own. The highest is that of"
        " all rounds so far, with the same generator at full speed.",
        "",
        "| | rate asked | rate | p50 µs | p99 µs |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, text in NAMES.items():
        cells = [samples.spread(f"latency/{name}/{figure}").text() for figure in ("asked", "rate", "p50", "p99")]
        lines.append(f"| {text} | {' | '.join(cells)} |")
    lines.append(f"| respgres / Redis | | | | {_ratio(samples, 'get', 'redis').text(2)} |")
    lines.append(f"| respgres / pgbench | | | | {_ratio(samples, 'set', 'pgbench').text(2)} |")
    return "\n".join(lines)


def _ratio(samples, operation, other):
    return samples.ratio(f"latency/{operation}/respgres/p99", f"latency/{operation}/{other}/p99")


def marks(samples):
    return [
        Mark(
            5,
            "p99 of GET that hits",
            "below 2 × Redis at that rate",
            2,
            _ratio(samples, "get", "redis"),
            at_least=False,
        ),
        Mark(5, "p99 of SET", "below 3 × pgbench's", 3, _ratio(samples, "set", "pgbench"), at_least=False),
    ]
