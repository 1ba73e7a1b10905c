"""One key for all clients, beside keys at random."""

from contextlib import nullcontext

from .. import reads
from ..marks import Mark
from ..settings import CONNECTIONS, DEPTHS, KEYS, VALUE_BYTES
from .get import deep

SECONDS = 1.5
BOUND = 0.95
"""Not slower, within what two runs of the same differ by."""


def prepare(bench):
    bench.fill(bench.deployment.respgres)


def measure(bench):
    target = bench.deployment.respgres
    for depth in DEPTHS:
        for operation in ("get", "set"):
            bench.warm(target)
            # In turns, so that neither always comes first.
            orders = ("random", "hot") if bench.round % 2 else ("hot", "random")
            for order in orders:
                hits = reads.only("hits", target, f"hot GET, {deep(depth)}") if operation == "get" else nullcontext()
                with hits:
                    answer = bench.load(
                        target,
                        operation,
                        order=order,
                        depth=depth,
                        seconds=bench.settings.seconds(SECONDS),
                        connections=CONNECTIONS,
                        num_keys=KEYS,
                        value_bytes=VALUE_BYTES,
                    )
                bench.add(f"hot/{operation}/{depth}/{order}", rate=answer["rate"])


def report(samples):
    lines = [
        "## Hot keys",
        "",
        f"{CONNECTIONS} connections, all with one key, beside the same with {KEYS:,} keys at random.",
        "",
        "| | pipeline | one key, a second | at random, a second | ratio |",
        "|---|---:|---:|---:|---:|",
    ]
    for operation in ("get", "set"):
        for depth in DEPTHS:
            hot, spread = (samples.spread(f"hot/{operation}/{depth}/{order}/rate") for order in ("hot", "random"))
            ratio = _ratio(samples, operation, depth)
            lines.append(f"| {operation.upper()} | {depth} | {hot.text()} | {spread.text()} | {ratio.text(2)} |")
    return "\n".join(lines)


def _ratio(samples, operation, depth):
    return samples.ratio(f"hot/{operation}/{depth}/hot/rate", f"hot/{operation}/{depth}/random/rate")


def marks(samples):
    return [
        Mark(
            7,
            f"{operation.upper()} of one key, {deep(depth)}",
            f"not slower than keys at random (at least {BOUND} ×)",
            BOUND,
            _ratio(samples, operation, depth),
        )
        for operation in ("get", "set")
        for depth in DEPTHS
    ]
