"""The figures of all rounds."""

import json
from collections import defaultdict
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """The median of the rounds, the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values):
        return cls(median(values), min(values), max(values))

    def scaled(self, factor):
        return Spread(self.median * factor, self.least * factor, self.most * factor)

    def text(self, digits=0, unit=""):
        def number(value):
            return f"{value:,.{digits}f}"

        return f"{number(self.median)}{unit} ({number(self.least)}–{number(self.most)})"


class Samples:
    """A figure has a name, as in `get/16/respgres/rate`, and one value a round."""

    def __init__(self):
        self._values = defaultdict(dict)

    def add(self, round_, prefix, **figures):
        for name, value in figures.items():
            self._values[f"{prefix}/{name}"][round_] = value

    def has(self, name):
        return name in self._values

    def names(self):
        return list(self._values)

    def values(self, name):
        return list(self._values[name].values())

    def spread(self, name):
        return Spread.of(self.values(name))

    def spread_of_all(self, prefix):
        """Of every figure whose name begins so, as one."""
        return Spread.of([value for name in self._values if name.startswith(prefix) for value in self.values(name)])

    def ratio(self, name, other):
        """Of each round's figures: what makes a round slow as a whole cancels out."""
        these, those = self._values[name], self._values[other]
        return Spread.of([these[round_] / those[round_] for round_ in these if round_ in those])

    def save(self, path):
        path.write_text(json.dumps(self._values, indent=1) + "\n")
