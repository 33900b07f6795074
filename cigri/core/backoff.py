"""When to start something again that keeps dying."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY = 0.5
LONGEST_DELAY = 10.0
CALM = 20.0  # seconds of life after which earlier deaths are forgotten


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
