"""When to start something again that keeps dying, and when to look again at something that goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass

FIRST_DELAY = 0.5
LONGEST_DELAY = 10.0
CALM = 20.0  # seconds of life after which earlier deaths are forgotten
FIRST_LOOK = 600.0


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
