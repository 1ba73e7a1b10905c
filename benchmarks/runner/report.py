"""RESULTS.md."""

import datetime
import os

from . import cost, marks
from .rows import ROWS


def results(settings, samples, machine):
    rows = [ROWS[name] for name in settings.rows]
    asked = [mark for row in rows for mark in row.marks(samples)]
    parts = [
        "# Results",
        f"Written by `{command()}` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; [README.md](README.md) says what"
        " each row is. Medians, with the least and the most in parentheses; a ratio is that of the same round. Rounds:"
        f" {settings.rounds}. Load generators and servers share the machine.",
        "\n".join(f"- {line}" for line in machine),
    ]
    if asked:
        parts += ["## Marks", marks.table(asked)]
    parts += [row.report(samples) for row in rows]
    parts += [cost.report(samples)]
    return "\n\n".join(part for part in parts if part) + "\n"


def command():
    variables = [f"{name}={os.environ[name]}" for name in ("ROWS", "ROUNDS", "SCALE") if os.environ.get(name)]
    return " ".join(["make bench", *variables])
