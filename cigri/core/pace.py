"""The pace of a cluster, learnt from what each look at its jobs shows: docs/control.md."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from cigri.core import control
from cigri.core.control import LONGEST_WAIT

RATE_TIME = 20.0  # seconds over which the rate of ends and the period of the looks are smoothed
DOUBT = 5.0  # seconds without an end that a stretch of work is thought to begin with


@dataclass(slots=True)
class Pace:
    """Of one cluster. rate: jobs of ours that end per second; period: seconds between two looks while there are jobs;
    start_delay: seconds from a slot and a job that are both there to the start, at most."""

    rate: float = 0.0
    period: float = 0.0
    start_delay: float = 0.0
    _busy: bool = False  # there were jobs to follow at the look before
    _age: float = 0.0  # seconds for which there have been some
    _last_start: float = math.inf  # until a first look has been seen whole, nobody knows who waited for whom
    _freed: list[float] = field(default_factory=list)  # when slots became free that nobody has taken since

    def look(
        self,
        elapsed: float,
        ends: Sequence[float],
        starts: Sequence[tuple[float, float]],
        waiting: Sequence[float],
        *,
        busy: bool,
    ) -> None:
        """One look, `elapsed` seconds after the one before; all other times are of the cluster's clock.

        ends: of those that ended since. starts: (sent, started) of those that started since. waiting: when those were
        sent that still wait. busy: whether there were jobs to look at.
        """
        elapsed = max(elapsed, 0.001)
        weight = 1 - math.exp(-elapsed / RATE_TIME)
        self._age = self._age + elapsed if self._busy else 0.0
        # At first the rate is the mean since the work began: what is smoothed would take 20 s to come up from 0.
        known = max(weight, elapsed / (self._age + DOUBT)) if self._age else weight
        self.rate += known * (len(ends) / elapsed - self.rate)
        if busy and self._busy:  # how long it has rested says nothing about how often it looks
            self.period += weight * (elapsed - self.period)
        self._busy = busy
        waits = self._turned_round(ends, starts) + control.unqueued(starts, waiting, self._last_start)
        self.start_delay = control.start_delay(self.start_delay, waits)
        last = 0.0 if math.isinf(self._last_start) else self._last_start
        self._last_start = max([last, *(start for _, start in starts)])
        if not waiting:
            self._freed.clear()  # the slots had no job to wait for

    def _turned_round(self, ends: Sequence[float], starts: Sequence[tuple[float, float]]) -> list[float]:
        """How long slots that became free stayed so while a job of ours was there for them.

        Which start belongs to which end nobody knows; the sum is the same, whoever is paired with whom.
        """
        freed = sorted([*self._freed, *ends])
        found = []
        for sent, start in sorted(starts, key=lambda each: each[1]):
            if place := bisect_right(freed, start):
                end = freed.pop(place - 1)
                if sent <= end:
                    found.append(start - end)
        newest = max((start for _, start in starts), default=0.0)
        self._freed = [end for end in freed if end > newest - LONGEST_WAIT]
        return found
