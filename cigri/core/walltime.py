"""Walltimes: `h`, `h:mm` or `h:mm:ss` with OAR's meaning, where a bare number is hours."""

from __future__ import annotations

import re
from dataclasses import dataclass

FORM = re.compile(r"([0-9]{1,3})(?::([0-9]{1,3}))?(?::([0-9]{1,3}))?", re.ASCII)
MOST_BARE_HOURS = 99  # a larger bare number was meant as seconds or minutes


@dataclass(frozen=True, slots=True, order=True)
class Walltime:
    """How long a job may last; as text h:mm:ss, which OAR takes."""

    seconds: int

    def __str__(self) -> str:
        minutes, seconds = divmod(self.seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}"


def parse(text: str) -> Walltime:
    """The walltime that a user wrote. ValueError says what was expected."""
    text = text.strip()
    if re.fullmatch(r"[0-9]{3,9}", text) and int(text) > MOST_BARE_HOURS:
        guess = Walltime(int(text))
        raise ValueError(f"a bare number is hours, and {int(text)} hours are too many (did you mean {guess}?)")
    match = FORM.fullmatch(text)
    if not match:
        raise ValueError("must be h, h:mm or h:mm:ss, for example 0:30:00")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    walltime = Walltime(hours * 3600 + minutes * 60 + seconds)
    if not walltime.seconds:
        raise ValueError("must be longer than nothing")
    return walltime
