"""The tasks of a campaign, page by page, each with its newest try."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Text, case, cast, func, literal, select, tuple_
from sqlalchemy.orm import Session

from cigri.core.states import TaskState
from cigri.db.tables import Campaign, Cluster, Job, Task


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
        select(Job.id, Job.state, Job.remote_id, Job.cluster_id)
        .where(Job.task_id == Task.id, Task.state.not_in([TaskState.PENDING]))
        .order_by(Job.id.desc())
        .limit(1)
        .correlate(Task)
        .lateral("newest")
    )
    state = case(
        (Task.state.in_([TaskState.PENDING, TaskState.CANCELLED]), cast(Task.state, Text)),
        else_=func.coalesce(cast(newest.c.state, Text), cast(Task.state, Text)),
    )
    return (
        select(Task.id, Task.line, state, Cluster.name, newest.c.id, newest.c.remote_id)
        .select_from(Task)
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
    place = tuple_(Task.campaign_id, Task.id)
    mine = query.where(place > (campaign_id, after), Task.campaign_id <= campaign_id)
    return mine.order_by(Task.campaign_id, Task.id)


def _first_id(session: Session, campaign_id: int, total: int) -> int | None:
    """The id of the campaign's first task if its ids have no gaps (they were made by one COPY, alone)."""
    first = session.scalar(_in_order(select(Task.id), campaign_id).limit(1))
    newest = select(Task.id).where(Task.campaign_id.between(campaign_id, campaign_id))
    last = session.scalar(newest.order_by(Task.campaign_id.desc(), Task.id.desc()).limit(1))
    return int(first) if first is not None and last is not None and last - first + 1 == total else None


def task(session: Session, campaign_id: int, task_id: int) -> TaskView | None:
    """One task of a campaign."""
    query = _tasks().where(Task.campaign_id == campaign_id, Task.id == task_id)
    row = session.execute(query).one_or_none()
    return None if row is None else TaskView(*row)


def lines(session: Session, campaign_id: int, *, after: int, limit: int) -> list[tuple[int, str]]:
    """Ids and parameters of the tasks that follow the task `after`."""
    query = _in_order(select(Task.id, Task.line), campaign_id, after)
    return [(row.id, row.line) for row in session.execute(query.limit(limit))]


def total(session: Session, campaign_id: int) -> int:
    """How many tasks the campaign has."""
    return session.scalar(select(Campaign.total_tasks).where(Campaign.id == campaign_id)) or 0
