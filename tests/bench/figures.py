"""What a benchmark found: figures, each with its target, in a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build/bench"  # plots and JSON are left here
COLLECT = "CIGRI_BENCH_FIGURES"  # a file that gets one JSON object per line; set by `make bench`


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. `original`: the same of the original's rule, measured in the same run, where it has one."""

    what: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None
    original: float | None = None

    @property
    def target(self) -> str:
        bounds = ((">=", self.least), ("<=", self.most))
        return " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)

    @property
    def verdict(self) -> str:
        """pass, miss, or nothing without a target."""
        if self.least is None and self.most is None:
            return ""
        met = (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)
        return "pass" if met else "miss"

    def record(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"target": self.target, "verdict": self.verdict}


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def report(title: str, found: Sequence[Figure]) -> None:
    """Print the figures of one benchmark; hand them to `make bench` where that has called it."""
    say(f"\n{table(title, found)}")
    if path := os.environ.get(COLLECT):
        with open(path, "a") as collected:
            for figure in found:
                collected.write(json.dumps({"bench": title} | figure.record()) + "\n")


def table(title: str, found: Iterable[Figure]) -> str:
    lines = [f"{title:66}{'figure':>12}  {'':10}{'target':>18}{'':>8}{'original':>12}"]
    for each in found:
        original = "" if each.original is None else f"{each.original:.4g}"
        line = f"  {each.what:64}{each.value:>12.4g}  {each.unit:10}{each.target:>18}{each.verdict:>8}{original:>12}"
        lines.append(line.rstrip())
    return "\n".join(lines)
