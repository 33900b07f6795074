"""Marks that ask nikita to delete jobs. A mark decides nothing: the runner ends a job when its cluster says so."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from cigri.core.states import FOLLOWED, JobKind, JobState
from cigri.db.arrays import among
from cigri.db.engine import notify
from cigri.db.tables import LIVING, Job, Submission


class KillReason(enum.StrEnum):
    """Why a job is to be deleted; what becomes of its task follows from it (core.outcome)."""

    CANCELLED = "cancelled"  # its campaign was cancelled
    USER = "user"  # its owner asked for this job's end
    MANUAL = "manual"  # an administrator sets it aside
    WALLTIME = "walltime"  # over its walltime, and the cluster did not end it
    QUEUED = "queued"  # waited too long on the cluster
    RECALLED = "recalled"  # it waits on a cluster that is drained
    DRAINED = "drained"  # the cluster is to be empty at once
    REFUSED = "refused"  # not in the queue where it was to be
    SURPLUS = "surplus"  # another try of its task has succeeded


# Meant for jobs that wait: the mark is taken back when the job has started.
IF_WAITING = frozenset({KillReason.QUEUED, KillReason.RECALLED})


def mark_campaign(session: Session, campaign_id: int, reason: KillReason) -> int:
    """Mark the live jobs of a campaign, but for epilogues; how many were not marked before."""
    return len(_mark(session, Job.campaign_id == campaign_id, Job.kind != JobKind.EPILOGUE, reason=reason))


def mark_jobs(session: Session, job_ids: Sequence[int], reason: KillReason, message: str | None = None) -> set[int]:
    """Mark these jobs where they are live and not marked before; the ids of those that are now marked."""
    return _mark(session, among(Job.id, job_ids), reason=reason, message=message)


def message(session: Session, job_id: int) -> str | None:
    """What whoever marked the job said about it."""
    return session.scalar(select(Job.kill_message).where(Job.id == job_id))


def _mark(session: Session, *which: ColumnElement[bool], reason: KillReason, message: str | None = None) -> set[int]:
    # A job that is still being sent is marked too, and deleted once it is settled.
    change = (
        update(Job)
        .where(*which, LIVING, _free(reason))
        .values(kill_reason=reason.value, kill_at=func.now(), kill_next=func.now(), kill_message=message)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    marked = set(session.scalars(change))
    if marked:
        notify(session, "kills")
    return marked


def _free(reason: KillReason) -> ColumnElement[bool]:
    """A mark stays what it is, but for one that would be taken back if the job started."""
    if reason in IF_WAITING:
        return Job.kill_at.is_(None)
    return or_(Job.kill_at.is_(None), Job.kill_reason.in_(IF_WAITING))


def put_off(session: Session, job_ids: Sequence[int], first_delay: float, longest: float = 600.0) -> None:
    """Count one more deletion sent, and plan the next after a growing delay (seconds)."""
    tries = func.least(Job.kill_tries, 10)
    delay = func.least(first_delay * func.power(2, tries), longest)
    session.execute(
        update(Job)
        .where(among(Job.id, job_ids))
        .values(
            kill_tries=case((Job.kill_tries < 1000, Job.kill_tries + 1), else_=Job.kill_tries),
            kill_next=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, delay),
        )
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True, slots=True)
class Doomed:
    """A marked job that is on its cluster."""

    id: int
    remote_id: int
    name: str
    login: str
    reason: KillReason
    campaign_id: int


def due(session: Session, cluster_id: int, limit: int) -> list[Doomed]:
    """Marked jobs on the cluster whose next deletion is due, the most urgent first."""
    query = (
        select(Job.id, Job.remote_id, Submission.name, Submission.login, Job.kill_reason, Job.campaign_id)
        .join(Submission, Submission.id == Job.submission_id)
        .where(
            Job.cluster_id == cluster_id,
            Job.kill_at.is_not(None),
            Job.kill_next <= func.now(),
            LIVING,
            Job.state.in_(FOLLOWED),
        )
        .order_by(Job.kill_next)
        .limit(limit)
    )
    return [
        Doomed(job_id, remote_id or 0, name, login, KillReason(reason or KillReason.CANCELLED), campaign_id)
        for job_id, remote_id, name, login, reason, campaign_id in session.execute(query)
    ]


def clusters_due(session: Session) -> list[int]:
    """The clusters on which some deletion is due."""
    query = (
        select(Job.cluster_id)
        .where(Job.kill_at.is_not(None), Job.kill_next <= func.now(), LIVING, Job.state.in_(FOLLOWED))
        .distinct()
    )
    return list(session.scalars(query))


def unmark(session: Session, job_id: int) -> None:
    """Take the mark of a job that was not to wait any longer back: it has started."""
    _unmark(session, Job.id == job_id, Job.kill_reason.in_(IF_WAITING))


def extend(session: Session, job_id: int, walltime: int) -> None:
    """The job may run for longer than was known (seconds): a mark for being over its walltime is taken back."""
    session.execute(update(Job).where(Job.id == job_id, LIVING).values(walltime=walltime))
    _unmark(session, Job.id == job_id, Job.kill_reason == KillReason.WALLTIME)


def _unmark(session: Session, *which: ColumnElement[bool]) -> None:
    session.execute(
        update(Job)
        .where(*which)
        .values(kill_reason=None, kill_at=None, kill_next=None, kill_tries=0)
        .execution_options(synchronize_session=False)
    )


def mark_overdue(session: Session, cluster_id: int, remote_clock: float, grace: float) -> set[int]:
    """Mark jobs that run longer than their walltime and the grace (seconds), by the cluster's own clock."""
    end = Job.start_time + func.make_interval(0, 0, 0, 0, 0, 0, Job.walltime + grace)
    running = and_(Job.cluster_id == cluster_id, LIVING, Job.state == JobState.RUNNING)
    return _mark(session, running, end < func.to_timestamp(remote_clock), reason=KillReason.WALLTIME)


def recall(session: Session, cluster_id: int, *, running_too: bool) -> int:
    """Mark the jobs that wait on the cluster, or all that are there, so that their tasks go elsewhere; how many."""
    there = [Job.cluster_id == cluster_id, Job.kind == JobKind.TASK]
    if running_too:
        return len(_mark(session, *there, reason=KillReason.DRAINED))
    waiting = Job.state.in_((JobState.LAUNCHING, JobState.SUBMITTED, JobState.REMOTE_WAITING))
    return len(_mark(session, *there, waiting, reason=KillReason.RECALLED))


def mark_queued_too_long(session: Session, cluster_id: int, timeout: float) -> set[int]:
    """Mark jobs that have waited on the cluster for longer than this (seconds)."""
    waited = and_(
        Job.cluster_id == cluster_id,
        Job.state.in_((JobState.SUBMITTED, JobState.REMOTE_WAITING)),
        Job.kind == JobKind.TASK,
        Job.created_at < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, timeout),
    )
    return _mark(session, waited, reason=KillReason.QUEUED)
