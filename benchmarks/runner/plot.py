"""results.svg: the rates, as bars."""

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt  # noqa: E402, I001 (the backend comes first)


OURS = "#0f766e"
OURS_EMBEDDED = "#5eead4"
OTHERS = "#94a3b8"
INK = "#1f2937"

GET = [
    ("redis", "Redis"),
    ("twemproxy", "twemproxy"),
    ("predixy-1", "predixy, 1 thread"),
    ("predixy-2", "predixy, 2 threads"),
]
RESPGRES = [("respgres", "respgres"), ("embedded", "respgres embedded")]

PANELS = {
    "Cached GET": [(f"get/1/{name}/rate", text) for name, text in GET + RESPGRES],
    "Cached GET, 16 deep": [(f"get/16/{name}/rate", text) for name, text in GET + RESPGRES],
    "Durable SET": [
        ("set/pgbench/one/rate", "pgbench, upsert"),
        ("set/pgbench/hundred/rate", "pgbench, 100 rows each"),
        ("set/1/respgres/rate", "respgres"),
        ("set/16/respgres/rate", "respgres, 16 deep"),
    ],
    "GET of what no cache has": [
        ("cold/pgbench/rate", "pgbench, SELECT"),
        ("cold/1/rate", "respgres"),
        ("cold/16/rate", "respgres, 16 deep"),
    ],
    "HTTP /read, cached": [("http/read/fastapi/rate", "FastAPI, 2 workers"), ("http/read/respgres/rate", "respgres")],
    "HTTP /write": [("http/write/fastapi/rate", "FastAPI, 2 workers"), ("http/write/respgres/rate", "respgres")],
}


def style():
    """A background of its own, so that it can be read on a dark page as on a light one."""
    plt.rcParams.update(
        {
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "font.size": 10,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": "#cbd5e1",
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            # The same figures make the same file.
            "svg.hashsalt": "respgres",
        }
    )


def results(samples, path):
    """Of the panels that were measured."""
    panels = {
        title: [(samples.spread(name), text) for name, text in bars if samples.has(name)]
        for title, bars in PANELS.items()
    }
    panels = {title: bars for title, bars in panels.items() if bars}
    if not panels:
        return
    style()
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    heights = [
        max(len(bars) for bars in list(panels.values())[row * columns : (row + 1) * columns]) for row in range(rows)
    ]
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(5 * columns, 0.32 * sum(heights) + 0.75 * rows),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for axis, (title, bars) in zip(axes.flat, panels.items(), strict=False):
        _bars(axis, title, bars)
    for axis in list(axes.flat)[len(panels) :]:
        axis.remove()
    figure.supxlabel("operations a second; the lines are the least and the most of the rounds", fontsize=9)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _bars(axis, title, bars):
    most = max(spread.most for spread, _ in bars)
    for position, (spread, text) in enumerate(bars):
        colour = OTHERS
        if text.startswith("respgres"):
            colour = OURS_EMBEDDED if "embedded" in text else OURS
        axis.barh(position, spread.median, color=colour, height=0.7)
        axis.hlines(position, spread.least, spread.most, color=INK, linewidth=1.2)
        axis.text(spread.most + most * 0.02, position, f"{spread.median:,.0f}", va="center", fontsize=9)
    axis.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axis.set_yticks(range(len(bars)), [text for _, text in bars])
    axis.invert_yaxis()
    axis.set_xlim(0, most * 1.22)
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
    axis.tick_params(axis="y", length=0)
