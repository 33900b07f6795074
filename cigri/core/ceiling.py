"""The outer loop: the most jobs in flight that a load allows, be it a cluster's stress or a file server's.

docs/control.md has the law, its units, why it is stable, and how to tune.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass

STRESS_REFERENCE = 0.8  # the part of the stress limit from which on the order is lowered
FEW = 10  # jobs in flight that are believed to harm nobody: to begin with, and while the load is not known
LEAST = 1.0
STEEPEST = 3.0  # the largest error that counts: a load of a twentieth of its reference, or of twenty times
GAIN = 0.25  # of the integral, times the lag of the loop
LONGEST_STEP = 60.0  # seconds that one step stands for at most


@dataclass(frozen=True, slots=True)
class Need:
    """Of a cluster that shares a load with others. Counts are jobs of ours."""

    in_flight: int
    wanted: int  # what the inner loop would send now
    weight: float = 1.0  # its part of what all may have; its slots


def error(load: float, reference: float) -> float:
    """How far the load is from its reference: 0 there, ln 2 at half of it, -ln 2 at twice."""
    if load <= 0:
        return STEEPEST
    return max(-STEEPEST, min(STEEPEST, math.log(reference / load)))


def step(ceiling: float | None, off: float, in_flight: int | None, elapsed: float, lag: float) -> float:
    """The next ceiling, `elapsed` seconds after the last one; None: there was none yet.

    off: the error now. in_flight: the most jobs that there were in the meantime, None when nobody has watched; a
    ceiling that they did not reach did not bind, and comes down to them; one that they are beyond (they cannot be
    called back) comes up to them. lag: seconds from an order to the load that shows it.
    """
    base = float(FEW) if ceiling is None else ceiling
    if in_flight is not None:
        bound = in_flight >= math.floor(base)
        base = max(base, in_flight) if bound else max(in_flight, min(base, FEW))
    growth = math.exp(GAIN * off * min(max(elapsed, 0.0), LONGEST_STEP) / lag)
    return max(LEAST, base * growth)


def stress_step(ceiling: float | None, off: float, in_flight: int | None, elapsed: float, lag: float) -> float | None:
    """The same for a cluster's stress, which is no reason to begin with few: None, no ceiling, until it is too high.

    It is dropped again when the stress is below its reference and the ceiling holds nothing back.
    """
    if ceiling is None:
        return step(float(in_flight or FEW), off, in_flight, elapsed, lag) if off < 0 else None
    if off > 0 and in_flight is not None and in_flight < math.floor(ceiling):
        return None
    return step(ceiling, off, in_flight, elapsed, lag)


def room(ceiling: float, in_flight: int) -> int:
    """How many jobs may be added."""
    return max(0, math.floor(ceiling) - in_flight)


def divide(places: int, needs: Mapping[int, Need]) -> dict[int, int]:
    """Deal places out to clusters: the next goes to the one that would have least for its weight, while it wants it."""
    given = dict.fromkeys(needs, 0)
    line = [((need.in_flight + 1) / need.weight, each) for each, need in needs.items() if need.wanted > 0]
    heapq.heapify(line)
    for _ in range(min(places, sum(max(0, need.wanted) for need in needs.values()))):
        _, each = line[0]
        need = needs[each]
        given[each] += 1
        if given[each] < need.wanted:
            heapq.heapreplace(line, ((need.in_flight + given[each] + 1) / need.weight, each))
        else:
            heapq.heappop(line)
    return given
