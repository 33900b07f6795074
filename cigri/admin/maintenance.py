"""gridadmin maintenance: old campaigns are archived, what is older still is dropped, the tables are vacuumed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from cigri.admin.grid import Grid

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from cigri.config import Settings

TASKS = 5000  # in one transaction: half a second of work
ROWS = 20_000  # the same of smaller things
_A_DAY = timedelta(days=1)

# Where the rows go that are counted under these words.
_TOUCHED = {
    "tasks archived": ("tasks", "jobs", "campaign_counts", "archived_tasks", "archived_jobs"),
    "submissions archived": ("submissions", "archived_submissions"),
    "events archived": ("events", "archived_events"),
    "campaigns dropped": ("tasks", "jobs", "archived_tasks", "archived_jobs", "events"),
    "submissions of purged campaigns dropped": ("submissions", "archived_submissions"),
    "events forgotten": ("events",),
    "idempotency keys forgotten": ("idempotency_keys",),
    "records of usage forgotten": ("grid_usage",),
}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say which campaigns would be archived and dropped.")
@click.pass_obj
def maintenance(grid: Grid, dry_run: bool) -> None:
    """Archive and drop what is old, as ARCHIVE_AFTER and RETENTION say; etc/cron.d/cigri calls it daily.

    It works in small steps while the daemons do, and may be ended and called again at any time. What is archived
    stays readable by all commands.
    """
    from cigri.db import upkeep

    began = time.monotonic()
    with grid.engine() as engine:
        if dry_run:
            click.echo(f"maintenance: {_foreseen(engine, grid.settings)}; nothing was done")
            return
        with upkeep.alone(engine):
            work = Maintenance(engine, grid.settings)
            work.run()
            vacuumed = work.vacuum()
    told = ", ".join(f"{count} {what}" for what, count in work.done.items()) or "nothing to do"
    told += f"; vacuumed {', '.join(vacuumed)}" if vacuumed else ""
    click.echo(f"maintenance: {told} ({time.monotonic() - began:.1f} s)")


def _foreseen(engine: Engine, settings: Settings) -> str:
    from cigri.db.engine import transaction

    with transaction(engine) as session:
        dropped = set(_to_drop(session, settings))
        archived = set(_to_archive(session, settings)) - dropped
    return f"{_campaigns(archived)} to archive, {_campaigns(dropped)} to drop"


def _campaigns(ids: set[int]) -> str:
    listed = ", ".join(map(str, sorted(ids)[:20])) + (", ..." if len(ids) > 20 else "")
    return f"{len(ids)} campaign{'' if len(ids) == 1 else 's'}{f' ({listed})' if ids else ''}"


def _to_archive(session: Session, settings: Settings) -> list[int]:
    from cigri.db import archive

    if not settings.archive_after:
        return []
    return list(archive.settled(session, timedelta(days=settings.archive_after), _window(settings)))


def _to_drop(session: Session, settings: Settings) -> list[int]:
    from cigri.db import archive

    if not settings.retention:
        return []
    age = timedelta(days=settings.retention)
    return list(archive.settled(session, age, _window(settings), archived_too=True))


def _window(settings: Settings) -> timedelta:
    """After so long no job of a submission turns up that was given up, on a cluster that answers."""
    return timedelta(seconds=settings.request_arrival_window + settings.look_back) + _A_DAY


class Maintenance:
    """The order of work: each step in transactions of its own. `done` counts what was done, by what it was."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        """All of it. What is to be dropped is not archived before."""
        from cigri.db import upkeep

        self._drop()
        self._archive()
        window = _window(self._settings)
        self._repeat("events forgotten", upkeep.forget_passed)
        self._repeat("idempotency keys forgotten", upkeep.forget_keys)
        self._repeat(
            "submissions of purged campaigns dropped",
            lambda session, most: upkeep.forget_submissions(session, window, most),
        )
        if days := self._settings.grid_usage_retention:
            self._repeat(
                "records of usage forgotten",
                lambda session, most: upkeep.forget_usage(session, timedelta(days=days), most),
            )
        self.done += Counter()  # without what is 0

    def vacuum(self) -> list[str]:
        """VACUUM (ANALYZE) of the tables that something was moved or deleted in; their names."""
        from cigri.db import upkeep

        tables = sorted({table for what in self.done for table in _TOUCHED.get(what, ())})
        upkeep.vacuum(self._engine, tables)
        return tables

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        from cigri.db.engine import transaction

        with transaction(self._engine) as session:
            yield session

    def _repeat(self, what: str, step: Callable[[Session, int], int]) -> None:
        """Do it, a batch in each transaction, until nothing is left."""
        while True:
            with self._transaction() as session:
                count = step(session, ROWS)
            self.done[what] += count
            if not count:
                return

    def _drop(self) -> None:
        from cigri.db import archive, campaigns

        age = timedelta(days=self._settings.retention)
        with self._transaction() as session:
            due = _to_drop(session, self._settings)
        for campaign_id in due:
            with self._transaction() as session:
                if not archive.lock(session, campaign_id, age):
                    continue  # it runs again
                campaigns.purge(session, campaign_id)
            self.done["campaigns dropped"] += 1
            more = True
            while more:
                with self._transaction() as session:
                    more = campaigns.clear(session)

    def _archive(self) -> None:

        age = timedelta(days=self._settings.archive_after)
        if not age:
            return
        with self._transaction() as session:
            due = _to_archive(session, self._settings)
        for campaign_id in due:
            self._archive_campaign(campaign_id, age)
        if self._archive_events(age):
            self._archive_events(age)  # causes go after what they caused

    def _archive_events(self, age: timedelta) -> int:
        from cigri.db import archive

        moved, last = 0, 0
        while True:
            first = last
            with self._transaction() as session:
                following = archive.slice_of_events(session, first, ROWS)
                if following is None:
                    break
                last = following
                moved += archive.move_events(session, first, last, age)
        self.done["events archived"] += moved
        return moved

    def _archive_campaign(self, campaign_id: int, age: timedelta) -> None:
        from cigri.db import archive

        last: int | None = 0
        while last is not None:
            with self._transaction() as session:
                moved = archive.move_tasks(session, campaign_id, age, after=last, most=TASKS)
            last = moved.last
            self.done["tasks archived"] += moved.tasks
            self.done["jobs archived"] += moved.jobs
        self._repeat(
            "submissions archived",
            lambda session, most: archive.move_submissions(session, campaign_id, age, most=most),
        )
        with self._transaction() as session:
            self.done["campaigns archived"] += archive.complete(session, campaign_id, age)
