"""Reading the keeper's journal: whole lines from a place on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: what happened to a job's command, and where the next line begins."""

    what: str
    job: int
    time: float
    text: str
    next: int


def read(file: Path, since: int) -> Iterator[Entry]:
    """The entries from byte `since` on, as far as they are whole."""
    try:
        source = file.open("rb")
    except FileNotFoundError:
        return
    with source:
        source.seek(since)
        place = since
        for line in source:
            if not line.endswith(b"\n"):
                return
            place += len(line)
            what, job, time, text = line.decode().rstrip("\n").split(" ", 3)
            yield Entry(what, int(job), float(time), text, place)
