"""What is written down regularly, what is forgotten after a while, and the tables' own maintenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, delete, func, insert, select, text, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from cigri.core.states import JobState
from cigri.db.archive import PASSED_CODES
from cigri.db.tables import LIVING, Cluster, ClusterStatus, Event, GridUsage, IdempotencyKey, Job
from cigri.errors import CigriError

KEYS_KEPT = timedelta(days=7)
PASSED_KEPT = timedelta(days=30)

_LOCK = 7236965  # whoever maintains holds this advisory lock; migrate has the number before it


class AlreadyMaintained(CigriError):
    """Another maintenance is at work: nothing was done."""


def record_usage(session: Session) -> None:
    """One line of grid usage per cluster whose resources were counted, all with the same date."""
    ours = (
        select(func.coalesce(func.sum(func.coalesce(Job.resources_used, 1)), 0))
        .where(Job.cluster_id == Cluster.id, LIVING, Job.state == JobState.RUNNING)
        .scalar_subquery()
    )
    status = ClusterStatus
    used = status.resources_total - status.resources_unavailable - status.resources_free
    counted = (
        select(
            func.now(), Cluster.id, status.resources_total, used, func.least(ours, used), status.resources_unavailable
        )
        .join(status, status.cluster_id == Cluster.id)
        .where(Cluster.enabled, Cluster.removed_at.is_(None), status.resources_at.is_not(None))
    )
    columns = ["date", "cluster_id", "max_resources", "used_resources", "used_by_cigri", "unavailable_resources"]
    session.execute(insert(GridUsage).from_select(columns, counted))


def forget_keys(session: Session, most: int) -> int:
    """Drop some idempotency keys that no client will send again; how many."""
    key = IdempotencyKey
    return _forget(session, (key.grid_user, key.key), key.created_at < func.now() - KEYS_KEPT, most=most)


def forget_passed(session: Session, most: int) -> int:
    """Drop some of the many small events that nobody asks for any more; how many."""
    old = (Event.code.in_(PASSED_CODES), Event.date_closed < func.now() - PASSED_KEPT)
    return _forget(session, (Event.id,), *old, most=most)


def forget_usage(session: Session, age: timedelta, most: int) -> int:
    """Drop some records of grid usage that are older than that; how many."""
    return _forget(session, (GridUsage.date, GridUsage.cluster_id), GridUsage.date < func.now() - age, most=most)


def _forget(
    session: Session, key: tuple[InstrumentedAttribute[Any], ...], *which: ColumnElement[bool], most: int
) -> int:
    some = select(*key).where(*which).limit(most)
    change = delete(key[0].class_).where(tuple_(*key).in_(some)).returning(key[0])
    return len(session.execute(change.execution_options(synchronize_session=False)).all())


# What purging leaves: nothing refers to them any more, and of none can a job still turn up.
_LEFT_OVER = """
    DELETE FROM {table} WHERE id IN (
        SELECT s.id FROM campaigns AS c JOIN {table} AS s ON s.campaign_id = c.id
        WHERE c.purged_at IS NOT NULL AND NOT c.clearing AND s.settled_at < now() - CAST(:window AS interval)
            AND NOT EXISTS (SELECT FROM jobs AS j WHERE j.submission_id = s.id)
        LIMIT :most)
    RETURNING id
"""


def forget_submissions(session: Session, window: timedelta, most: int) -> int:
    """Drop some submissions of purged campaigns that were settled longer ago than `window`; how many."""
    dropped = 0
    for table in ("submissions", "archived_submissions"):
        statement = text(_LEFT_OVER.format(table=table))
        dropped += len(session.execute(statement, {"window": window, "most": most}).all())
    return dropped


@contextmanager
def alone(engine: Engine) -> Iterator[None]:
    """For the block, no other maintenance is at work. Raises AlreadyMaintained.

    The lock is the connection's: who is killed does not keep it.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
            raise AlreadyMaintained("another maintenance is at work: nothing was done")
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})


def vacuum(engine: Engine, tables: Iterable[str]) -> None:
    """VACUUM (ANALYZE) of these tables, one after the other."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in tables:
            connection.execute(text(f"VACUUM (ANALYZE) {table}"))
