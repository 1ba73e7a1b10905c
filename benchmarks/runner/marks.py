"""What is asked of respgres."""

from dataclasses import dataclass

from .samples import Spread


@dataclass(frozen=True)
class Mark:
    number: int
    what: str
    asked: str
    """In words, as `at least 1.2 × Redis`."""
    bound: float
    value: Spread
    unit: str = ""
    at_least: bool = True
    within: bool = False
    """Whether the bound itself is good enough, where `at_least` is not asked."""

    @property
    def met(self):
        """By the median of the rounds."""
        if self.at_least:
            return self.value.median >= self.bound
        return self.value.median <= self.bound if self.within else self.value.median < self.bound


def table(marks):
    lines = ["| mark | what | asked | measured | |", "|---:|---|---|---:|---|"]
    for mark in sorted(marks, key=lambda mark: mark.number):
        met = "met" if mark.met else "**not met**"
        digits = 1 if mark.value.median >= 10 else 2
        lines.append(f"| {mark.number} | {mark.what} | {mark.asked} | {mark.value.text(digits, mark.unit)} | {met} |")
    return "\n".join(lines)
