"""What a daemon does now and then, beside its rounds: for each cluster, or for the grid as a whole."""

from __future__ import annotations

import time
from collections.abc import Callable


class Turns:
    """When each of these things was done last. What was never done is due at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[tuple[str, int], float] = {}

    def take(self, what: str, which: int, period: float) -> bool:
        """Whether it is time for this again; asking takes the turn. `period` in seconds."""
        now = self._clock()
        if now - self._last.get((what, which), float("-inf")) < period:
            return False
        self._last[what, which] = now
        return True

    def forget(self) -> None:
        """Everything is due again."""
        self._last.clear()
