"""CURVES.md and curves.svg."""

import datetime

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator

from .. import plot

WIDE = 20
"""How many times the least figure the most one may be on a linear scale."""

COLOURS = ("#0f766e", "#b45309", "#64748b", "#7c3aed")


def curves(samples, axes, machine, settings, command, left_out):
    parts = [
        "# Curves",
        f"Written by `{command}` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; [README.md](README.md) says how."
        f" Medians, with the least and the most in parentheses; rounds: {settings.rounds}, for keys one. Load generator"
        " and servers share the machine, and the generator sends as fast as replies come: the p99 is that of full"
        " load.",
        "\n".join(f"- {line}" for line in machine),
        "![Rate and p99 against each of these](curves.svg)",
    ]
    for axis in axes:
        parts += [f"## {axis.title}", axis.about, _table(samples, axis)]
    if left_out:
        parts.append("Left out: " + "; ".join(left_out) + ".")
    return "\n\n".join(parts) + "\n"


def _measured(samples, axis):
    return [point for point in axis.points if samples.has(f"{axis.name}/{point}/{next(iter(axis.lines))}/rate")]


def _table(samples, axis):
    heads = [f"{text}, a second | p99 ms" for text in axis.lines.values()]
    rows = [f"| {axis.title.lower()} | {' | '.join(heads)} |", "|---:" * (1 + 2 * len(axis.lines)) + "|"]
    for point in _measured(samples, axis):
        cells = []
        for line in axis.lines:
            prefix = f"{axis.name}/{point}/{line}"
            cells += [samples.spread(f"{prefix}/rate").text(), samples.spread(f"{prefix}/p99").scaled(1e-3).text(2)]
        rows.append(f"| {point:,} | {' | '.join(cells)} |")
    return "\n".join(rows)


def draw(samples, axes, path):
    """A row for each axis: the rate on the left, the p99 on the right."""
    plot.style()
    figure, grid = plt.subplots(len(axes), 2, figsize=(10, 2.9 * len(axes)), layout="constrained", squeeze=False)
    for axis, (left, right) in zip(axes, grid, strict=True):
        points = _measured(samples, axis)
        for (line, text), colour in zip(axis.lines.items(), COLOURS, strict=False):
            for place, figure_name, factor in ((left, "rate", 1), (right, "p99", 1e-3)):
                spreads = [
                    samples.spread(f"{axis.name}/{point}/{line}/{figure_name}").scaled(factor) for point in points
                ]
                place.plot(points, [spread.median for spread in spreads], "o-", color=colour, label=text, markersize=4)
                place.fill_between(
                    points,
                    [spread.least for spread in spreads],
                    [spread.most for spread in spreads],
                    color=colour,
                    alpha=0.15,
                    linewidth=0,
                )
        for place, title in ((left, "operations a second"), (right, "p99, ms")):
            place.set_xscale("log")
            _set_scale(place)
            place.set_xticks(points, [_short(point) for point in points])
            place.minorticks_off()
            place.yaxis.set_major_formatter(lambda value, _: _short(value))
            place.grid(True, color="#e2e8f0", linewidth=0.6)
            place.set_xlabel(axis.title)
            place.set_title(title, loc="left", fontsize=10)
        left.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _set_scale(place):
    """Logarithmic where the figures are that far apart, else from 0."""
    least, most = place.dataLim.intervaly
    if most / least > WIDE:
        place.set_yscale("log")
        place.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    else:
        place.set_ylim(0, most * 1.1)


def _short(number):
    for bound, unit in ((2**20, " Mi"), (2**10, " Ki")):
        if number >= bound and number % bound == 0:
            return f"{number / bound:g}{unit}"
    for bound, unit in ((10**6, " M"), (10**3, " k")):
        if number >= bound:
            return f"{number / bound:g}{unit}"
    return f"{number:g}"
