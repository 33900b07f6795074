"""What the sweep asks about jobs that a cluster shows under names of this grid, and what it records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Select, Text, any_, exists, func, literal, literal_column, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from cigri.core.states import JobState, SubmissionState, TaskState
from cigri.core.sweeping import Known
from cigri.db import archive, kills
from cigri.db.arrays import among
from cigri.db.kills import KillReason
from cigri.db.tables import LIVING, AnyJob, AnySubmission, AnyTask, Event, Job, Submission, Task


@dataclass(frozen=True, slots=True)
class Stray:
    """What is known of one key of one submission: `known` for the judgement, the rest for what follows from it."""

    known: Known
    task_id: int | None = None
    campaign_id: int | None = None


def known(session: Session, pairs: Collection[tuple[str, int | None]]) -> Mapping[tuple[str, int | None], Stray]:
    """What the database has about these (submission name, key)."""
    names = {name for name, _ in pairs}
    rows = session.scalars(select(AnySubmission).where(AnySubmission.name.in_(names)))
    submissions = {row.name: row for row in rows}
    keys = [key for _, key in pairs if key is not None]
    jobs = {row.id: row for row in session.scalars(select(AnyJob).where(among(AnyJob.id, keys)))}
    tasks = {(name, key): _task(submissions.get(name), jobs.get(key or 0), key) for name, key in pairs}
    wanted = {task_id for task_id in tasks.values() if task_id is not None}
    campaign_ids = {submission.campaign_id for submission in submissions.values()}
    mine = (among(AnyTask.campaign_id, campaign_ids), among(AnyTask.id, wanted))
    states = dict(session.execute(select(AnyTask.id, AnyTask.state).where(*mine)).all())
    found = {}
    for name, key in pairs:
        submission, job = submissions.get(name), jobs.get(key or 0)
        if job is not None and (submission is None or job.submission_id != submission.id):
            job = None
        found[name, key] = _stray(submission, job, tasks[name, key], states)
    return found


def _task(submission: AnySubmission | None, job: AnyJob | None, key: int | None) -> int | None:
    if submission is None or key is None:
        return None
    if job is not None:
        return job.task_id if job.submission_id == submission.id else None
    return dict(zip(submission.void_jobs, submission.void_tasks, strict=True)).get(key)


def _stray(
    submission: AnySubmission | None, job: AnyJob | None, task_id: int | None, states: Mapping[int, TaskState]
) -> Stray:
    if submission is None:
        return Stray(Known())
    ids = () if job is None or job.remote_id is None else (job.remote_id, *job.chain)
    task = None if task_id is None else states.get(task_id)
    return Stray(
        Known(submission.state, None if job is None else job.state, ids, task), task_id, submission.campaign_id
    )


def count_success(session: Session, campaign_id: int, task_id: int) -> bool:
    """A run of the task succeeded that no live job stands for: whether it is done by that. Its other try is killed."""
    change = (
        update(Task)
        .where(Task.id == task_id, Task.state != TaskState.DONE)
        .values(state=TaskState.DONE)
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    if session.scalar(change) is None and (
        not archive.bring_back(session, campaign_id, [task_id]) or session.scalar(change) is None
    ):
        return False
    others = session.scalars(select(Job.id).where(Job.task_id == task_id, LIVING)).all()
    kills.mark_jobs(session, others, KillReason.SURPLUS)
    return True


def told(session: Session, code: str, cluster_id: int, alike: str) -> bool:
    """Whether such an event was recorded already."""
    query = exists().where(Event.code == code, Event.cluster_id == cluster_id, Event.alike == alike)
    return bool(session.scalar(select(query)))


def expected(session: Session, cluster_id: int, window: float) -> bool:
    """Whether jobs of a submission that was given up may still turn up there (window: seconds)."""
    since = func.now() - timedelta(seconds=window)
    query = exists().where(
        Submission.cluster_id == cluster_id,
        Submission.settled_at > since,
        (Submission.state == SubmissionState.VOID) | (func.cardinality(Submission.void_jobs) > literal_column("0")),
    )
    return bool(session.scalar(select(query)))


def logins(session: Session, cluster_id: int, window: float | None) -> Sequence[tuple[str, int]]:
    """The logins that submitted to the cluster in this time (seconds; None: ever), or still have jobs there.

    Each with the campaign that it submitted for last: whose owner may speak for it.
    """
    recent: Select[str, int]
    if window is None:
        recent = select(AnySubmission.login, AnySubmission.campaign_id).where(AnySubmission.cluster_id == cluster_id)
    else:
        recent = select(Submission.login, Submission.campaign_id).where(
            Submission.cluster_id == cluster_id, Submission.sent_at > func.now() - timedelta(seconds=window)
        )
    live = (
        select(Submission.login, Submission.campaign_id)
        .join(Job, Job.submission_id == Submission.id)
        .where(Job.cluster_id == cluster_id, LIVING, Job.state != JobState.TO_LAUNCH)
    )
    both = recent.union(live).subquery()
    query = select(both.c.login, func.max(both.c.campaign_id)).group_by(both.c.login).order_by(both.c.login)
    return [(login, campaign_id) for login, campaign_id in session.execute(query)]


def accounted(session: Session, cluster_id: int, seen: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
    """Which of these remote jobs (submission name, id) are the newest of a job that lives, or that succeeded."""
    names = literal(sorted({name for name, _ in seen}), ARRAY(Text()))
    query = (
        select(Submission.name, Job.remote_id)
        .join(Job, Job.submission_id == Submission.id)
        .where(Submission.name == any_(names), Job.cluster_id == cluster_id, Job.state != JobState.EVENT)
    )
    return {(name, remote_id) for name, remote_id in session.execute(query) if remote_id is not None} & set(seen)
