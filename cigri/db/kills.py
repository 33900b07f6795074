"""Marks that ask nikita to delete jobs. A mark decides nothing: the runner ends a job when its cluster says so."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from sqlalchemy import ColumnElement, case, func, update
from sqlalchemy.orm import Session

from cigri.core.states import LIVE, JobKind, JobState
from cigri.db.engine import notify
from cigri.db.tables import Job


class KillReason(enum.StrEnum):
    """Why a job is to be deleted; what becomes of its task follows from it (core.outcome)."""

    CANCELLED = "cancelled"  # its campaign was cancelled
    USER = "user"  # its owner asked for this job's end
    WALLTIME = "walltime"  # over its walltime, and the cluster did not end it
    QUEUED = "queued"  # waited too long on the cluster
    REFUSED = "refused"  # not in the queue where it was to be


def mark_campaign(session: Session, campaign_id: int, reason: KillReason) -> int:
    """Mark the live jobs of a campaign, but for epilogues; how many were not marked before."""
    return len(_mark(session, Job.campaign_id == campaign_id, Job.kind != JobKind.EPILOGUE, reason=reason))


def mark_jobs(session: Session, job_ids: Sequence[int], reason: KillReason) -> set[int]:
    """Mark these jobs where they are live and not marked before; the ids of those that are now marked."""
    return _mark(session, Job.id.in_(job_ids), reason=reason)


def _mark(session: Session, *which: ColumnElement[bool], reason: KillReason) -> set[int]:
    # A job that is still being sent is marked too, and deleted once it is settled.
    change = (
        update(Job)
        .where(*which, Job.state.in_(LIVE), Job.kill_at.is_(None))
        .values(kill_reason=reason.value, kill_at=func.now(), kill_next=func.now())
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    marked = set(session.scalars(change))
    if marked:
        notify(session, "kills")
    return marked


def put_off(session: Session, job_ids: Sequence[int], first_delay: float, longest: float = 600.0) -> None:
    """Count one more deletion sent, and plan the next after a growing delay (seconds)."""
    tries = func.least(Job.kill_tries, 10)
    delay = func.least(first_delay * func.power(2, tries), longest)
    session.execute(
        update(Job)
        .where(Job.id.in_(job_ids))
        .values(
            kill_tries=case((Job.kill_tries < 1000, Job.kill_tries + 1), else_=Job.kill_tries),
            kill_next=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, delay),
        )
        .execution_options(synchronize_session=False)
    )


DELETABLE = frozenset({JobState.SUBMITTED, JobState.REMOTE_WAITING, JobState.BATCH_WAITING, JobState.RUNNING})
