"""Days of load in virtual time under our rule of sharing and the original's, side by side. Prints; asserts nothing.

python tests/bench/bench_sharing.py [DAYS [SEED]]; the plot is left in build/bench/sharing.svg.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from chart import chart
from figures import BUILD, Figure, report, say
from grid_model import DAY, Figures, Grid, Rule, load
from rules import FairQueuing, Original

PLOT = BUILD / "sharing.svg"


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def compared(ours: Figures, theirs: Figures) -> list[Figure]:
    def both(what: str, read: Callable[[Figures], float], unit: str = "", most: float | None = None) -> Figure:
        return Figure(what, read(ours), unit, most=most, original=read(theirs))

    return [
        both("Jain's index over windows of 2 h, mean", lambda each: statistics.mean(y for _, y in each.jain)),
        both("the worst window", lambda each: min(y for _, y in each.jain)),
        both("longest time with nothing in flight", lambda each: each.gap, "bounds", most=1.0),
        # Bound 3 is wide: for guesses as wrong as walltimes allow. In two days even a rule without any stays within it.
        both("most dispatches of others between two of a campaign", lambda each: float(each.passed), "jobs"),
        both("longest gap between two dispatches of a campaign", lambda each: each.passed_part, "bounds", most=1.0),
        both("stretch of campaigns, mean", lambda each: statistics.mean(each.stretch)),
        both("stretch of campaigns, 95 %", lambda each: quantile(each.stretch, 0.95)),
        both("use of what the owners leave", lambda each: statistics.mean(y for _, y in each.use)),
        both("jobs", lambda each: float(each.jobs)),
    ]


def main() -> None:
    days = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    found: dict[str, Figures] = {}
    for make in (FairQueuing, Original):
        rule: Rule = make()
        clusters, campaigns = load(seed, days)
        began = time.monotonic()
        grid = Grid(clusters, campaigns, rule, seed)
        found[rule.name] = grid.run(4 * days)
        say(f"{rule.name}: {grid.now / DAY:.1f} days in {time.monotonic() - began:.1f} s")
    lines = [
        ("Jain's index among those who wait, windows of 2 h", {name: each.jain for name, each in found.items()}),
        ("Use of what the owners leave", {name: each.use for name, each in found.items()}),
    ]
    in_hours = [
        (title, "h", {name: [(x / 3600, y) for x, y in points] for name, points in each.items()}, 1.0)
        for title, each in lines
    ]
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    PLOT.write_text(chart(in_hours), encoding="utf-8")
    report(
        "20 users, 50 campaigns, 8 clusters, days in virtual time",
        compared(found[FairQueuing.name], found[Original.name]),
    )


if __name__ == "__main__":
    main()
