"""When to start something again that keeps dying, and when to tell of it."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY = 0.5
LONGEST_DELAY = 10.0
CALM = 20.0  # seconds of life after which earlier deaths are forgotten
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


def silence(before: float, since: float) -> float | None:
    """How long nothing is told after telling of this death; None: it is not told.

    It comes `since` seconds after the one that was told last, after which nothing was to be told for `before`.
    """
    if since < before:
        return None
    if since >= 2 * LONGEST_SILENCE:
        return FIRST_SILENCE
    return min(LONGEST_SILENCE, max(FIRST_SILENCE, 2 * before))
