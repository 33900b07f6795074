"""Events as they are shown. What is open is never archived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select, tuple_
from sqlalchemy.orm import Session

from cigri.core.events import Scope
from cigri.core.states import EventState
from cigri.db.arrays import among
from cigri.db.tables import AnyEvent, Cluster, Event
from cigri.db.views.campaigns import open_events_of

HIDDEN = ("REMOTE_WAITING_FRAG", "FRAG_RESUBMIT_BY_NIKITA")  # of no use to anybody but the grid


@dataclass(frozen=True, slots=True)
class EventView:
    """An event, the name of its cluster, and the event that caused it (of a blacklist)."""

    event: Event | AnyEvent
    cluster_name: str | None
    source: AnyEvent | None


Place = type[Event] | type[AnyEvent]


def _events(of: Place, *conditions: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    return select(of, Cluster.name).select_from(of).outerjoin(Cluster, Cluster.id == of.cluster_id).where(*conditions)


def _views(session: Session, rows: Sequence[Row[*tuple[Any, ...]]]) -> list[EventView]:
    # By their ids alone: joined, all events that there have been would be read where few have a parent.
    parents = {found.parent for found, _ in rows if found.parent is not None}
    sources = session.scalars(select(AnyEvent).where(among(AnyEvent.id, parents))).all() if parents else ()
    by_id = {source.id: source for source in sources}
    return [EventView(found, cluster, by_id.get(found.parent)) for found, cluster in rows]


def _page(
    session: Session, of: Place, limit: int, offset: int, *conditions: ColumnElement[bool]
) -> tuple[list[EventView], int]:
    # Of one campaign by that first, which is the same for all: only the index on (campaign_id, id) has this order.
    order = (of.id,) if of is Event else (of.campaign_id, of.id)
    found = session.execute(_events(of, *conditions).order_by(*order).limit(limit).offset(offset)).all()
    count = session.scalar(select(func.count()).select_from(of).where(*conditions)) or 0
    return _views(session, found), count


def of_campaign(
    session: Session, campaign_id: int, *, closed_too: bool, limit: int, offset: int, after: int = 0
) -> tuple[list[EventView], int]:
    """Open events that matter to a campaign, or all of its own, after the event `after`; how many in all."""
    if closed_too:
        of = AnyEvent
        mine = (tuple_(of.campaign_id, of.id) > (campaign_id, after), of.campaign_id <= campaign_id)
        return _page(session, of, limit, offset, *mine, of.code.not_in(HIDDEN))
    return _page(session, Event, limit, offset, open_events_of(campaign_id), Event.id > after)


def of_grid(session: Session, *, limit: int, offset: int, after: int = 0) -> tuple[list[EventView], int]:
    """Open events that belong to no campaign, after the event `after`; how many in all."""
    unfit = Event.class_.not_in([Scope.JOB, Scope.CAMPAIGN])
    mine = (Event.state == EventState.OPEN, Event.campaign_id.is_(None), unfit, Event.id > after)
    return _page(session, Event, limit, offset, *mine)


def event(session: Session, event_id: int) -> EventView | None:
    """One event."""
    found = _views(session, session.execute(_events(AnyEvent, AnyEvent.id == event_id)).all())
    return found[0] if found else None
