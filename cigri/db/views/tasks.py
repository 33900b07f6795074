"""The tasks of a campaign, archived or not, page by page, each with its newest try."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Text, case, cast, func, literal, select, tuple_
from sqlalchemy.orm import Session

from cigri.core.states import TaskState
from cigri.db.tables import AnyJob, AnyTask, Campaign, Cluster


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task; job, cluster and remote id are those of its newest try, unless the task is pending again."""

    id: int
    line: str
    state: str  # pending, cancelled, or the state of the try
    cluster: str | None = None
    job_id: int | None = None
    remote_id: int | None = None

    @property
    def name(self) -> str:
        """The first word of the parameters."""
        return next(iter(self.line.split(maxsplit=1)), "")


def _tasks() -> Select[*tuple[Any, ...]]:
    newest = (
        select(AnyJob.id, AnyJob.state, AnyJob.remote_id, AnyJob.cluster_id)
        .where(AnyJob.task_id == AnyTask.id, AnyTask.state.not_in([TaskState.PENDING]))
        .order_by(AnyJob.id.desc())
        .limit(1)
        .correlate(AnyTask)
        .lateral("newest")
    )
    state = case(
        (AnyTask.state.in_([TaskState.PENDING, TaskState.CANCELLED]), cast(AnyTask.state, Text)),
        else_=func.coalesce(cast(newest.c.state, Text), cast(AnyTask.state, Text)),
    )
    return (
        select(AnyTask.id, AnyTask.line, state, Cluster.name, newest.c.id, newest.c.remote_id)
        .select_from(AnyTask)
        .outerjoin(newest, literal(True))
        .outerjoin(Cluster, Cluster.id == newest.c.cluster_id)
    )


def page(session: Session, campaign_id: int, total: int, *, limit: int, offset: int) -> list[TaskView]:
    """Some tasks of a campaign of `total` tasks, by id."""
    if offset >= total or limit == 0:
        return []
    # Far into a big campaign without walking there.
    first = _first_id(session, campaign_id, total)
    if first is None:
        query = _in_order(_tasks(), campaign_id).offset(offset)
    else:
        query = _in_order(_tasks(), campaign_id, after=first + offset - 1)
    return [TaskView(*row) for row in session.execute(query.limit(limit))]


def _in_order(query: Select[*tuple[Any, ...]], campaign_id: int, after: int = 0) -> Select[*tuple[Any, ...]]:
    """The campaign's tasks that follow the task `after`, by id.

    Written so that only the index on (campaign_id, id) has this order: to the planner the primary key would look as
    good for a big campaign, and lead it through all tasks of other campaigns that lie before.
    """
    place = tuple_(AnyTask.campaign_id, AnyTask.id)
    mine = query.where(place > (campaign_id, after), AnyTask.campaign_id <= campaign_id)
    return mine.order_by(AnyTask.campaign_id, AnyTask.id)


def _first_id(session: Session, campaign_id: int, total: int) -> int | None:
    """The id of the campaign's first task if its ids have no gaps (they were made by one COPY, alone)."""
    first = session.scalar(_in_order(select(AnyTask.id), campaign_id).limit(1))
    newest = select(AnyTask.id).where(AnyTask.campaign_id.between(campaign_id, campaign_id))
    last = session.scalar(newest.order_by(AnyTask.campaign_id.desc(), AnyTask.id.desc()).limit(1))
    return int(first) if first is not None and last is not None and last - first + 1 == total else None


def task(session: Session, campaign_id: int, task_id: int) -> TaskView | None:
    """One task of a campaign."""
    query = _tasks().where(AnyTask.campaign_id == campaign_id, AnyTask.id == task_id)
    row = session.execute(query).one_or_none()
    return None if row is None else TaskView(*row)


def lines(session: Session, campaign_id: int, *, after: int, limit: int) -> list[tuple[int, str]]:
    """Ids and parameters of the tasks that follow the task `after`."""
    query = _in_order(select(AnyTask.id, AnyTask.line), campaign_id, after)
    return [(row.id, row.line) for row in session.execute(query.limit(limit))]


def total(session: Session, campaign_id: int) -> int:
    """How many tasks the campaign has."""
    return session.scalar(select(Campaign.total_tasks).where(Campaign.id == campaign_id)) or 0
