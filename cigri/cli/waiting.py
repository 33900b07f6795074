"""gridsub --wait: follow campaigns to their ends, showing progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

import click

from cigri.cli import output
from cigri.client import ApiError, ApiRefused, Client, Json

if TYPE_CHECKING:
    from rich.progress import Progress

SOME_FAILED = 3
CANCELLED = 4
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
PATIENCE = 600.0  # seconds without an API server
LINES_APART = 10.0  # seconds between lines of progress that nobody watches


class Display(Protocol):
    """Where progress is shown."""

    def show(self, campaign: Json) -> None: ...

    def say(self, words: str) -> None: ...


def wait(client: Client, campaigns: Sequence[str]) -> int:
    """Wait for the end of all campaigns. 0: all tasks succeeded; SOME_FAILED; CANCELLED when one was."""
    with _bar() as bar:
        display = Bar(bar) if bar is not None else Lines()
        try:
            codes = [_wait_for(client, campaign, display) for campaign in campaigns]
        except KeyboardInterrupt:
            names = " ".join(campaigns)
            display.say(f"Not waited for any longer, but not ended: gridstat shows it, griddel {names} ends it.")
            raise
    return max(codes, default=0)


def _wait_for(client: Client, campaign: str, display: Display) -> int:
    pause, told_events, told_pause = FIRST_PAUSE, False, False
    while True:
        found = _look(client, campaign, display)
        display.show(found)
        if found["state"] in ("cancelled", "terminated"):
            return _end(found, display)
        if found["has_events"] and not told_events:
            told_events = True
            display.say(f"Campaign {campaign} has open events: gridstat -c {campaign} -e")
        if found["state"] == "paused" and not told_pause:
            told_pause = True
            display.say(f"Campaign {campaign} is paused: griddel -r {campaign} resumes it")
        time.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)


def _look(client: Client, campaign: str, display: Display) -> Json:
    """The campaign; the API server may be away for a while."""
    began, told = time.monotonic(), False
    while True:
        try:
            return client.get(f"/campaigns/{campaign}")
        except ApiError as error:
            temporary = not isinstance(error, ApiRefused) or error.status in (500, 503)
            if not temporary or time.monotonic() - began > PATIENCE:
                raise
            if not told:
                told = True
                display.say(f"{str(error).splitlines()[0]}; waiting for it")
            time.sleep(LONGEST_PAUSE / 2)


def _end(campaign: Json, display: Display) -> int:
    counts = campaign["tasks"]
    if campaign["state"] == "cancelled":
        display.say(f"Campaign {campaign['id']} was cancelled: {counts['done']} tasks had succeeded")
        return CANCELLED
    if campaign["finished_jobs"] < campaign["total_jobs"]:
        lost = campaign["total_jobs"] - campaign["finished_jobs"]
        tasks = f"{lost} task{'s' * (lost != 1)}"
        display.say(f"Campaign {campaign['id']}: {tasks} failed: gridstat -c {campaign['id']} -e says why")
        return SOME_FAILED
    display.say(f"Campaign {campaign['id']}: all {campaign['total_jobs']} tasks succeeded")
    return 0


def _bar() -> Progress | nullcontext[None]:
    if not sys.stderr.isatty():
        return nullcontext(None)
    from cigri.cli import terminal

    return terminal.waiting_bar()


class Lines:
    """Progress as lines, not too many."""

    def __init__(self) -> None:
        self._last = ("", 0)
        self._due = 0.0

    def show(self, campaign: Json) -> None:
        now = (str(campaign["id"]), int(campaign["finished_jobs"]))
        ended = campaign["state"] in ("cancelled", "terminated")
        if now != self._last and (ended or time.monotonic() >= self._due):
            self._last, self._due = now, time.monotonic() + LINES_APART
            self.say(f"Progress: {output.progress(campaign)}")

    def say(self, words: str) -> None:
        click.echo(words, err=True)


class Bar:
    """Progress as a bar for each campaign."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[int, int] = {}

    def show(self, campaign: Json) -> None:
        key = campaign["id"]
        if key not in self._tasks:
            self._tasks[key] = int(self._bar.add_task(f"Campaign {key}", total=campaign["total_jobs"]))
        failed = campaign["tasks"]["failed"]
        words = f"Campaign {key}" + (f" ({failed} failed)" if failed else "")
        task = self._bar.tasks[self._tasks[key]].id
        self._bar.update(task, completed=campaign["finished_jobs"], total=campaign["total_jobs"], description=words)

    def say(self, words: str) -> None:
        self._bar.console.print(words, markup=False, highlight=False)
