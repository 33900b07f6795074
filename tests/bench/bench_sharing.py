"""Days of load in virtual time under our rule of sharing and the original's, side by side. Prints; asserts nothing.

python tests/bench/bench_sharing.py [DAYS [SEED]]; the plot is left in build/bench/sharing.svg.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from chart import chart
from grid_model import DAY, Figures, Grid, Rule, load
from rules import FairQueuing, Original

PLOT = Path(__file__).resolve().parents[2] / "build/bench/sharing.svg"


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def rows(figures: Figures) -> dict[str, str]:
    fair, use = [y for _, y in figures.jain], [y for _, y in figures.use]
    return {
        "Jain's index over windows of 2 h, mean": f"{statistics.mean(fair):.3f}",
        "the worst window": f"{min(fair):.3f}",
        "longest time with nothing in flight, in units of the bound": f"{figures.gap:.3g}",
        "stretch of campaigns, mean": f"{statistics.mean(figures.stretch):.2f}",
        "stretch of campaigns, 95 %": f"{quantile(figures.stretch, 0.95):.2f}",
        "use of what the owners leave while tasks wait": f"{statistics.mean(use):.3f}",
        "jobs": f"{figures.jobs}",
    }


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
    tables = {name: rows(figures) for name, figures in found.items()}
    say(f"\n{'20 users, 50 campaigns, 8 clusters':60}{''.join(f'{name:>22}' for name in tables)}")
    for what in next(iter(tables.values())):
        say(f"{what:60}{''.join(f'{table[what]:>22}' for table in tables.values())}")
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
    say(f"\nThe plot is in {PLOT.relative_to(PLOT.parents[2])}")


if __name__ == "__main__":
    main()
