"""Jobs: the tries of tasks, archived or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, or_, select, tuple_
from sqlalchemy.orm import Session

from cigri.core.states import FINAL, JobKind
from cigri.db.tables import AnyJob, AnySubmission, AnyTask, Campaign, Cluster


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with what belongs to it."""

    job: AnyJob
    line: str | None  # None for a prologue or an epilogue
    user: str
    cluster_name: str
    login: str | None  # on the cluster
    array_id: int | None
    submission: str | None  # its name: what is ours there
    type: str | None  # the campaign's on that cluster: best-effort, normal
    test_mode: str | None

    @property
    def best_effort(self) -> bool:
        """Whether it gives way to the jobs of its cluster's own users."""
        asked = self.type in ("best-effort", "besteffort")  # imported campaigns may have the second
        return self.job.kind is JobKind.TASK and asked and self.test_mode != "true"


def _jobs() -> Select[*tuple[Any, ...]]:
    there = Campaign.jdl["clusters"][Cluster.name]
    return (
        select(
            AnyJob,
            AnyTask.line,
            Campaign.grid_user,
            Cluster.name,
            AnySubmission.login,
            AnySubmission.array_id,
            AnySubmission.name,
            there["type"].astext,
            there["test_mode"].astext,
        )
        .join(Campaign, Campaign.id == AnyJob.campaign_id)
        .join(Cluster, Cluster.id == AnyJob.cluster_id)
        .outerjoin(AnyTask, (AnyTask.campaign_id == AnyJob.campaign_id) & (AnyTask.id == AnyJob.task_id))
        .outerjoin(AnySubmission, AnySubmission.id == AnyJob.submission_id)
    )


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a job left on its cluster."""

    job_id: int
    cluster_id: int
    cluster_name: str
    path: str


def job(session: Session, job_id: int) -> JobView | None:
    """One job."""
    row = session.execute(_jobs().where(AnyJob.id == job_id)).one_or_none()
    return None if row is None else JobView(*row)


def of_task(session: Session, task_id: int) -> list[JobView]:
    """The tries of a task, oldest first."""
    query = _jobs().where(AnyJob.task_id == task_id).order_by(AnyJob.id)
    return [JobView(*row) for row in session.execute(query)]


def last_of_page(session: Session, campaign_id: int, *, after: int, limit: int) -> tuple[int, bool]:
    """The last of the `limit` ended jobs of a campaign that follow the job `after`, and whether more follow it."""
    if limit == 0:
        return after, False
    # Only the index on (campaign_id, id) has this order: see views.tasks.
    place = tuple_(AnyJob.campaign_id, AnyJob.id)
    mine = (place > (campaign_id, after), AnyJob.campaign_id <= campaign_id)
    ended = select(AnyJob.id).where(*mine, AnyJob.state.in_(FINAL)).order_by(AnyJob.campaign_id, AnyJob.id)
    found = session.scalars(ended.offset(limit - 1).limit(2)).all()
    if found:
        return int(found[0]), len(found) > 1
    whole = select(AnyJob.id).where(AnyJob.campaign_id.between(campaign_id, campaign_id))
    newest = session.scalar(whole.order_by(AnyJob.campaign_id.desc(), AnyJob.id.desc()).limit(1))
    return max(newest or 0, after), False


def _between(campaign_id: int, after: int, last: int) -> tuple[ColumnElement[bool], ...]:
    """The campaign's ended jobs that follow the job `after`, up to the job `last`: any index ends there."""
    return (AnyJob.campaign_id == campaign_id, AnyJob.state.in_(FINAL), AnyJob.id > after, AnyJob.id <= last)


def finished(session: Session, campaign_id: int, *, after: int, last: int, limit: int) -> list[JobView]:
    """Some ended jobs of a campaign that follow the job `after`, up to the job `last`."""
    query = _jobs().where(*_between(campaign_id, after, last)).order_by(AnyJob.id)
    return [JobView(*row) for row in session.execute(query.limit(limit))]


def files(
    session: Session, campaign_id: int, *, after: int, last: int, limit: int
) -> tuple[list[OutputFile], int | None]:
    """The output files of some ended jobs that follow the job `after`, up to the job `last`; and where to go on."""
    known = or_(AnyJob.stdout_path.is_not(None), AnyJob.stderr_path.is_not(None))
    paths = (AnyJob.id, AnyJob.cluster_id, Cluster.name, AnyJob.remote_id, AnyJob.stdout_path, AnyJob.stderr_path)
    found = select(*paths).join(Cluster, Cluster.id == AnyJob.cluster_id).where(known)
    these = found.where(*_between(campaign_id, after, last)).order_by(AnyJob.id)
    rows = session.execute(these.limit(limit)).all()
    return [file for row in rows for file in _files_of(*row)], rows[-1].id if rows else None


def _files_of(
    job_id: int, cluster_id: int, cluster_name: str, remote_id: int | None, *paths: str | None
) -> Iterator[OutputFile]:
    for path in dict.fromkeys(paths):
        if path:
            yield OutputFile(job_id, cluster_id, cluster_name, path.replace("%jobid%", str(remote_id)))
