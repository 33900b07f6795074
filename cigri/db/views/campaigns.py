"""Campaigns as they are shown. Tasks are never counted here: campaign_counts has the sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    SQLColumnExpression,
    and_,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.orm import Session

from cigri.core.states import QUEUED, UNFINISHED, CampaignState, EventState, JobKind, JobState, StageState
from cigri.db.tables import LIVING, Campaign, CampaignCluster, CampaignCount, Cluster, Event, Job, Stage


@dataclass(frozen=True, slots=True)
class Summary:
    """A campaign in one line."""

    id: int
    name: str
    user: str
    state: CampaignState
    submission_time: datetime
    total: int
    done: int
    has_events: bool


@dataclass(frozen=True, slots=True)
class ClusterUse:
    """What a campaign has on one of its clusters now. A stage that it does not have is ok."""

    cluster_id: int
    cluster_name: str
    active: int
    queued: int
    prologue_ok: bool
    epilogue_ok: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How many tasks of a campaign are in each state."""

    pending: int
    active: int
    done: int
    failed: int
    cancelled: int


def open_events_of(campaign_id: SQLColumnExpression[int] | int) -> ColumnElement[bool]:
    """Open events that matter to a campaign: its own, and those of its clusters that are nobody's."""
    mine = select(CampaignCluster.cluster_id).where(CampaignCluster.campaign_id == campaign_id)
    clusters = mine.correlate_except(CampaignCluster)
    return and_(
        Event.state == EventState.OPEN,
        or_(
            Event.campaign_id == campaign_id,
            and_(Event.campaign_id.is_(None), Event.cluster_id.in_(clusters)),
        ),
    )


def _sum(column: Any) -> ScalarSelect[int]:
    total = select(func.coalesce(func.sum(column), 0)).where(CampaignCount.campaign_id == Campaign.id)
    return total.correlate(Campaign).scalar_subquery()


def _summaries() -> Select[*tuple[Any, ...]]:
    events = exists(select(Event.id).where(open_events_of(Campaign.id)).correlate(Campaign))
    return select(
        Campaign.id,
        Campaign.name,
        Campaign.grid_user,
        Campaign.state,
        Campaign.submission_time,
        Campaign.total_tasks,
        _sum(CampaignCount.done),
        events,
    )


def unfinished(session: Session, user: str | None, *, limit: int, offset: int) -> tuple[list[Summary], int]:
    """A page of the campaigns that are in treatment or paused, of everybody or of one user, oldest first; and how
    many there are on all pages."""
    these: list[ColumnElement[bool]] = [Campaign.state.in_(UNFINISHED)]
    if user is not None:
        these.append(Campaign.grid_user == user)
    query = _summaries().where(*these).order_by(Campaign.id).limit(limit).offset(offset)
    found = [Summary(*row) for row in session.execute(query)]
    if offset == 0 and len(found) < limit:
        return found, len(found)
    return found, session.scalar(select(func.count()).select_from(Campaign).where(*these)) or 0


def summary(session: Session, campaign_id: int) -> Summary | None:
    """One campaign, whatever its state."""
    row = session.execute(_summaries().where(Campaign.id == campaign_id)).one_or_none()
    return None if row is None else Summary(*row)


def owner(session: Session, campaign_id: int) -> str | None:
    """Whose campaign it is; None when there is none."""
    return session.scalar(select(Campaign.grid_user).where(Campaign.id == campaign_id))


def jdl(session: Session, campaign_id: int) -> dict[str, Any] | None:
    """The expanded JDL, without the tasks."""
    return session.scalar(select(Campaign.jdl).where(Campaign.id == campaign_id))


def clusters(session: Session, campaign_id: int) -> list[ClusterUse]:
    """What the campaign has on each of its clusters."""
    here = and_(Job.campaign_id == CampaignCluster.campaign_id, Job.cluster_id == CampaignCluster.cluster_id)
    running = select(func.count()).where(here, LIVING, Job.state == JobState.RUNNING)
    waiting = select(func.count()).where(here, LIVING, Job.state.in_(QUEUED))
    query = (
        select(
            Cluster.id,
            Cluster.name,
            running.correlate(CampaignCluster).scalar_subquery(),
            waiting.correlate(CampaignCluster).scalar_subquery(),
            or_(~CampaignCluster.prologue, _stage_done(JobKind.PROLOGUE)),
            or_(~CampaignCluster.epilogue, _stage_done(JobKind.EPILOGUE)),
        )
        .join(CampaignCluster, CampaignCluster.cluster_id == Cluster.id)
        .join(Campaign, Campaign.id == CampaignCluster.campaign_id)
        .where(CampaignCluster.campaign_id == campaign_id)
        .order_by(Cluster.id)
    )
    return [ClusterUse(*row) for row in session.execute(query)]


def _stage_done(kind: JobKind) -> ColumnElement[bool]:
    done = select(Stage.state).where(
        Stage.campaign_id == CampaignCluster.campaign_id,
        Stage.cluster_id == CampaignCluster.cluster_id,
        Stage.kind == kind,
        Stage.round == Campaign.round,
        Stage.state == StageState.DONE,
    )
    return done.correlate(CampaignCluster, Campaign).exists()


def progress(session: Session, campaign_ids: Sequence[int]) -> dict[int, Progress]:
    """The tasks of these campaigns by state."""
    states = ("pending", "active", "done", "failed", "cancelled")
    sums = [func.sum(getattr(CampaignCount, state)) for state in states]
    query = select(CampaignCount.campaign_id, *sums).where(CampaignCount.campaign_id.in_(campaign_ids))
    found = {row[0]: Progress(*row[1:]) for row in session.execute(query.group_by(CampaignCount.campaign_id))}
    return {key: found.get(key, Progress(0, 0, 0, 0, 0)) for key in campaign_ids}
