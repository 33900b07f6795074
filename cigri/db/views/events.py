"""Events as they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from cigri.core.states import EventState
from cigri.db.tables import Cluster, Event, EventClass
from cigri.db.views.campaigns import open_events_of

HIDDEN = ("REMOTE_WAITING_FRAG", "FRAG_RESUBMIT_BY_NIKITA")  # of no use to anybody but the grid


@dataclass(frozen=True, slots=True)
class EventView:
    """An event, and the name of its cluster if it has one."""

    event: Event
    cluster_name: str | None


def _events(*conditions: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    return (
        select(Event, Cluster.name)
        .select_from(Event)
        .outerjoin(Cluster, Cluster.id == Event.cluster_id)
        .where(*conditions)
    )


def _page(session: Session, limit: int, offset: int, *conditions: ColumnElement[bool]) -> tuple[list[EventView], int]:
    found = session.execute(_events(*conditions).order_by(Event.id).limit(limit).offset(offset))
    count = session.scalar(select(func.count()).select_from(Event).where(*conditions)) or 0
    return [EventView(*row) for row in found], count


def of_campaign(
    session: Session, campaign_id: int, *, closed_too: bool, limit: int, offset: int
) -> tuple[list[EventView], int]:
    """Open events that matter to a campaign, or all of its own; and how many there are in all."""
    if closed_too:
        return _page(session, limit, offset, Event.campaign_id == campaign_id, Event.code.not_in(HIDDEN))
    return _page(session, limit, offset, open_events_of(campaign_id))


def of_grid(session: Session, *, limit: int, offset: int) -> tuple[list[EventView], int]:
    """Open events that belong to no campaign; and how many there are in all."""
    unfit = Event.class_.not_in([EventClass.JOB, EventClass.CAMPAIGN])
    return _page(session, limit, offset, Event.state == EventState.OPEN, Event.campaign_id.is_(None), unfit)


def event(session: Session, event_id: int) -> EventView | None:
    """One event."""
    row = session.execute(_events(Event.id == event_id)).one_or_none()
    return None if row is None else EventView(*row)
