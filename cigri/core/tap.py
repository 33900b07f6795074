"""The original's rule of submitting: a tap that grows with what it lets through, and closes when one job waits."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class TapRule:
    """Its constants: jobs at first, growth, most jobs, seconds that a closed tap is waited for."""

    first: int = 3
    growth: float = 1.5
    most: int = 100
    grace: float = 60.0


@dataclass(frozen=True, slots=True)
class Tap:
    """Of one cluster. `left`: jobs that may still be sent before the next look; `given`: how many could be at it."""

    rate: float
    closed_at: float | None = None
    looked_at: float = float("-inf")
    given: int = 0
    left: int = 0


def used(tap: Tap, sent: int) -> Tap:
    """So many jobs were sent since the last look."""
    return replace(tap, left=max(0, tap.given - sent))


def look(tap: Tap, rule: TapRule, *, waiting: int, now: float) -> Tap:
    """A new round: closed while a job waits; opened when none does, smaller if it was closed for long; else grown."""
    if waiting:
        return replace(tap, closed_at=now, looked_at=now, given=0, left=0)
    rate = tap.rate
    if tap.closed_at is not None:
        if now - tap.closed_at >= rule.grace:
            rate = max(float(rule.first), rate / rule.growth)
    elif tap.given and not tap.left and rate < tap.given * rule.growth + 1:
        rate = min(float(rule.most), rate * rule.growth)
    return Tap(rate, None, now, int(rate), int(rate))
