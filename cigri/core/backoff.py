"""When to start something again that keeps dying, and to tell of it; when to look again at something that goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass

FIRST_DELAY = 0.5
LONGEST_DELAY = 10.0
CALM = 20.0  # seconds of life after which earlier deaths are forgotten
FIRST_LOOK = 600.0
FIRST_SILENCE = 60.0
LONGEST_SILENCE = 86400.0


@dataclass(frozen=True, slots=True)
class Restart:
    """The delay before the next start (seconds) and the deaths in a row that led to it."""

    delay: float
    deaths: int


def restart(deaths: int, lived: float) -> Restart:
    """After `deaths` earlier deaths in a row and one more after `lived` seconds."""
    if lived >= CALM:
        deaths = 0
    return Restart(min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(deaths, 20)), deaths + 1)


def look_again(age: float, elapsed: float) -> bool:
    """Whether something became so old in the last `elapsed` seconds that it is looked at: 10, 20, 40, ... minutes."""
    return _looks(age) > _looks(age - elapsed)


def _looks(age: float) -> int:
    """How many looks it has had at this age."""
    return math.floor(math.log2(age / FIRST_LOOK)) + 1 if age >= FIRST_LOOK else 0


def silence(before: float, since: float) -> float | None:
    """How long nothing is told after telling of this death; None: it is not told.

    It comes `since` seconds after the one that was told last, after which nothing was to be told for `before`.
    """
    if since < before:
        return None
    if since >= 2 * LONGEST_SILENCE:
        return FIRST_SILENCE
    return min(LONGEST_SILENCE, max(FIRST_SILENCE, 2 * before))
