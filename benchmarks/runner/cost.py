"""Processor time per operation."""

PARTS = ("proxy", "Redis", "PostgreSQL", "load")

SHOWN = {
    "respgres, GET that hits": "get/{depth}/respgres",
    "respgres, SET": "set/{depth}/respgres",
    "respgres, GET that misses": "cold/{depth}/respgres",
    "respgres embedded, GET that hits": "get/{depth}/embedded",
    "respgres embedded, SET": "set/{depth}/embedded",
    "twemproxy, GET": "get/{depth}/twemproxy",
    "predixy with 2 threads, GET": "get/{depth}/predixy-2",
    "Redis asked directly, GET": "get/{depth}/redis",
    "pgbench, upsert of one row": "set/pgbench/one",
    "pgbench, upsert of 100 rows, each": "set/pgbench/hundred",
    "pgbench, SELECT": "cold/pgbench",
}


def report(samples):
    """Of the rows that were measured."""
    lines = []
    for text, pattern in SHOWN.items():
        for depth in (1, 16) if "{depth}" in pattern else ("",):
            name = "cpu/" + pattern.format(depth=depth)
            if samples.has(f"{name}/load"):
                cells = [_cell(samples, f"{name}/{part}") for part in PARTS]
                lines.append(f"| {text} | {depth} | {' | '.join(cells)} |")
    if not lines:
        return ""
    return "\n".join(
        [
            "## Processor time per operation",
            "",
            "Microseconds, user and system together, of the runs above; PostgreSQL with all its processes. `load` is"
            " the generator, which has its share of the same processors.",
            "",
            "| | pipeline | proxy | Redis | PostgreSQL | load |",
            "|---|---:|---:|---:|---:|---:|",
            *lines,
        ]
    )


def _cell(samples, name):
    return samples.spread(name).text(2) if samples.has(name) else ""
