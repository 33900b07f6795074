"""Jobs: the tries of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from cigri.core.states import FINAL
from cigri.db.tables import Campaign, Cluster, Job, Submission, Task


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with what belongs to it."""

    job: Job
    line: str | None  # None for a prologue or an epilogue
    user: str
    cluster_name: str
    login: str | None  # on the cluster
    array_id: int | None
    submission: str | None  # its name on the cluster
    kind: str | None  # the campaign's type on that cluster: best-effort, normal, ...


def _jobs() -> Select[*tuple[Any, ...]]:
    return (
        select(
            Job,
            Task.line,
            Campaign.grid_user,
            Cluster.name,
            Submission.login,
            Submission.array_id,
            Submission.name,
            Campaign.jdl[("clusters", Cluster.name, "type")].astext,
        )
        .join(Campaign, Campaign.id == Job.campaign_id)
        .join(Cluster, Cluster.id == Job.cluster_id)
        .outerjoin(Task, Task.id == Job.task_id)
        .outerjoin(Submission, Submission.id == Job.submission_id)
    )


def job(session: Session, job_id: int) -> JobView | None:
    """One job."""
    row = session.execute(_jobs().where(Job.id == job_id)).one_or_none()
    return None if row is None else JobView(*row)


def of_task(session: Session, task_id: int) -> list[JobView]:
    """The tries of a task, oldest first."""
    query = _jobs().where(Job.task_id == task_id).order_by(Job.id)
    return [JobView(*row) for row in session.execute(query)]


def finished(session: Session, campaign_id: int, *, after: int, limit: int) -> list[JobView]:
    """The ended jobs of a campaign that follow the job `after`."""
    query = _jobs().where(Job.campaign_id == campaign_id, Job.state.in_(FINAL), Job.id > after)
    return [JobView(*row) for row in session.execute(query.order_by(Job.id).limit(limit))]
