"""GET of keys that are cached."""

from .. import reads
from ..bench import CpuMeter, add_cpu
from ..marks import Mark
from ..settings import CONNECTIONS, DEPTHS, KEYS, VALUE_BYTES

SECONDS = 1.8

NAMES = {
    "redis": "Redis, asked directly",
    "twemproxy": "twemproxy, 1 thread, in front of that Redis",
    "predixy-2": "predixy, 2 threads, in front of that Redis",
    "predixy-1": "predixy, 1 thread, in front of that Redis",
    "respgres": "respgres, 3 PostgreSQL shards and a Redis",
    "embedded": "respgres, embedded",
}


def prepare(bench):
    bench.fill(bench.deployment.redis)
    for target in targets(bench).values():
        bench.warm(target)
    for target in (bench.deployment.respgres, bench.deployment.embedded):
        bench.fill(target)


def targets(bench):
    """Redis and what is in front of it; those that are there."""
    deployment = bench.deployment
    found = {
        "redis": deployment.redis,
        "twemproxy": deployment.twemproxy,
        "predixy-2": deployment.predixy_2,
        "predixy-1": deployment.predixy_1,
    }
    return {name: target for name, target in found.items() if target is not None}


def measure(bench):
    others = targets(bench)
    # A machine that gets faster or slower during a round does so for and against each.
    names = [*others, "respgres", "embedded"]
    for depth in DEPTHS:
        for name in names if bench.round % 2 else reversed(names):
            if name in others:
                measure_other(bench, name, others[name], depth)
            else:
                measure_hits(bench, name, depth)


def measure_other(bench, name, target, depth):
    parts = {"Redis": bench.deployment.redis}
    if name != "redis":
        parts["proxy"] = target
    bench.calibrate(target, "get", depth)
    with CpuMeter(parts) as meter:
        requests, rate = bench.redis_benchmark(target, "get", depth, SECONDS)
    bench.add(f"get/{depth}/{name}", rate=rate)
    add_cpu(bench, f"get/{depth}/{name}", meter, requests)


def measure_hits(bench, name, depth):
    target = getattr(bench.deployment, name)
    # An entry lives for five minutes at most, and a round may have written to it.
    bench.warm(target)
    bench.calibrate(target, "get", depth)
    with reads.only("hits", target, f"GET, {name}, {deep(depth)}"), CpuMeter(target.parts) as meter:
        requests, rate = bench.redis_benchmark(target, "get", depth, SECONDS)
    bench.add(f"get/{depth}/{name}", rate=rate)
    add_cpu(bench, f"get/{depth}/{name}", meter, requests)


def report(samples):
    lines = [
        "## Cached GET",
        "",
        f"`redis-benchmark -t get -c {CONNECTIONS} -r {KEYS} -d {VALUE_BYTES}`; all keys are there and cached, and hits"
        " are counted.",
        "",
        "| | pipeline | requests a second | of Redis |",
        "|---|---:|---:|---:|",
    ]
    for depth in DEPTHS:
        for name, text in NAMES.items():
            if samples.has(f"get/{depth}/{name}/rate"):
                rate, ratio = of_redis(samples, depth, name)
                lines.append(f"| {text} | {depth} | {rate.text()} | {ratio.text(2)} |")
    return "\n".join(lines)


def of_redis(samples, depth, name):
    rate = f"get/{depth}/{name}/rate"
    return samples.spread(rate), samples.ratio(rate, f"get/{depth}/redis/rate")


def marks(samples):
    found = []
    for depth, bound in zip(DEPTHS, (1.2, 0.7)):
        _, ratio = of_redis(samples, depth, "respgres")
        found.append(Mark(1, f"cached GET, {deep(depth)}", f"at least {bound} × Redis", bound, ratio))
        if samples.has(f"get/{depth}/predixy-2/rate"):
            ratio = samples.ratio(f"get/{depth}/respgres/rate", f"get/{depth}/predixy-2/rate")
            found.append(Mark(1, f"cached GET, {deep(depth)}", "above predixy with 2 threads", 1, ratio))
    return found


def deep(depth):
    return "unpipelined" if depth == 1 else f"{depth} deep"
