"""Processor time per operation, and what it would allow on more machines."""

import os

PARTS = ("proxy", "Redis", "PostgreSQL")

SHOWN = {
    "respgres, GET that hits": "get/{depth}/respgres",
    "respgres, SET": "set/{depth}/respgres",
    "respgres, GET that misses": "cold/{depth}/respgres",
    "respgres embedded, GET that hits": "get/{depth}/embedded",
    "respgres embedded, SET": "set/{depth}/embedded",
    "twemproxy, GET": "get/{depth}/twemproxy",
    "predixy with 1 thread, GET": "get/{depth}/predixy-1",
    "predixy with 2 threads, GET": "get/{depth}/predixy-2",
    "Redis asked directly, GET": "get/{depth}/redis",
    "pgbench, upsert of one row": "set/pgbench/one",
    "pgbench, upsert of 100 rows, each": "set/pgbench/hundred",
    "pgbench, SELECT": "cold/pgbench",
}


def report(samples):
    """Of the rows that were measured."""
    measured = list(_measured(samples))
    if not measured:
        return ""
    processors = os.cpu_count()
    return "\n".join(
        [
            "## Processor time per operation",
            "",
            "Microseconds, user and system together, of the runs above; PostgreSQL with all its processes. `load` is"
            " the generator, which has its share of the same processors.",
            "",
            "| | pipeline | proxy | Redis | PostgreSQL | load |",
            "|---|---:|---:|---:|---:|---:|",
            *(
                _row(text, depth, [_micros(samples, name, part) for part in (*PARTS, "load")])
                for text, depth, name in measured
            ),
            "",
            "## Each on a machine of its own",
            "",
            "Operations a second that the processor time above allows each part, if it had a machine like this one to"
            f" itself: {processors} processors for PostgreSQL and for predixy with 2 threads; {_workers(processors)} for"
            " respgres, whose default leaves one to the kernel and the rest; one for what has one thread (Redis,"
            " twemproxy, predixy with 1 thread). The least is the limit, unless the disk or the network is.",
            "",
            "| | pipeline | proxy | Redis | PostgreSQL | limit |",
            "|---|---:|---:|---:|---:|---:|",
            *(_row(text, depth, _limits(samples, name, text, processors)) for text, depth, name in measured),
        ]
    )


def _measured(samples):
    for text, pattern in SHOWN.items():
        for depth in (1, 16) if "{depth}" in pattern else ("",):
            name = "cpu/" + pattern.format(depth=depth)
            if samples.has(f"{name}/load"):
                yield text, depth, name


def _row(text, depth, cells):
    return f"| {text} | {depth} | {' | '.join(cells)} |"


def _micros(samples, name, part):
    name = f"{name}/{part}"
    return samples.spread(name).text(2) if samples.has(name) else ""


def _limits(samples, name, text, processors):
    micros = {part: samples.spread(f"{name}/{part}").median for part in PARTS if samples.has(f"{name}/{part}")}
    limits = {}
    for part, each in micros.items():
        if each > 0:
            limits[part] = _threads(part, text, processors) * 1e6 / each
    cells = [f"{limits[part]:,.0f}" if part in limits else "" for part in PARTS]
    return [*cells, f"{min(limits.values()):,.0f}" if limits else ""]


def _threads(part, text, processors):
    if part == "Redis" or text.startswith(("twemproxy", "predixy with 1")):
        return 1
    return _workers(processors) if part == "proxy" and text.startswith("respgres") else processors


def _workers(processors):
    """The default of WORKER_THREADS."""
    return max(1, processors - 1)
