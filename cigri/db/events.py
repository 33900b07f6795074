"""Events: things that happened, open until somebody or something closes them; and the blacklists they cause."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, exists, func, or_, select, text, update
from sqlalchemy.orm import Session, aliased

from cigri.core.events import BLACKLIST, Scope, meaning
from cigri.core.states import EventState
from cigri.db.arrays import among
from cigri.db.tables import Event

MAX_PROBE_DELAY = timedelta(minutes=10)
MESSAGE_LENGTH = 4000

_RECORD = text("""
    INSERT INTO events (class, code, state, date_closed, campaign_id, cluster_id, job_id, last_job_id, count, alike,
                        parent, message, grid_user, probe_at, probe_delay)
    VALUES (CAST(:class AS event_class), :code, CAST(:state AS event_state), CASE WHEN :passing THEN now() END,
            :campaign_id, :cluster_id, :job_id, :last_job_id, :count, :alike, :parent, :message, :grid_user,
            now() + CAST(:probe_delay AS interval), CAST(:probe_delay AS interval))
    ON CONFLICT (class, code, coalesce(campaign_id, 0), coalesce(cluster_id, 0), coalesce(parent, 0), alike)
        WHERE state = 'open'
    DO UPDATE SET count = events.count + excluded.count, date_last = now(),
                  last_job_id = coalesce(excluded.last_job_id, events.last_job_id)
    RETURNING id
""")


@dataclass(frozen=True, slots=True)
class News:
    """An event to record. Open events that share code, campaign, cluster and `alike` become one, with a count."""

    code: str
    message: str = ""
    campaign_id: int | None = None
    cluster_id: int | None = None
    job_id: int | None = None
    last_job_id: int | None = None
    count: int = 1
    alike: str = ""
    probe_delay: timedelta | None = None
    grid_user: str | None = None  # whom it concerns, where no campaign says so


def record(session: Session, news: News) -> int:
    """Open the event (or add to the alike one that is open), and its blacklist if its code has one; its id.

    Events of passing things are closed at once. Raises KeyError for a code that the table does not have.
    """
    sense = meaning(news.code)
    probe = news.probe_delay if sense.heals is not None else None
    event_id = _insert(session, news, sense.scope, passing=sense.passing, probe=probe)
    if sense.blacklists is not None:
        black = News(
            BLACKLIST,
            campaign_id=news.campaign_id if sense.blacklists is Scope.CAMPAIGN else None,
            cluster_id=news.cluster_id,
        )
        _insert(session, black, sense.blacklists, parent=event_id)
    return event_id


def _insert(
    session: Session,
    news: News,
    scope: Scope,
    *,
    passing: bool = False,
    parent: int | None = None,
    probe: timedelta | None = None,
) -> int:
    values = {
        "class": scope.value,
        "code": news.code,
        "state": (EventState.CLOSED if passing else EventState.OPEN).value,
        "passing": passing,
        "campaign_id": news.campaign_id,
        "cluster_id": news.cluster_id,
        "job_id": news.job_id,
        "last_job_id": news.last_job_id or news.job_id,
        "count": news.count,
        "alike": news.alike,
        "parent": parent,
        "message": news.message[:MESSAGE_LENGTH].replace("\0", "\ufffd"),
        "probe_delay": probe,
        "grid_user": news.grid_user,
    }
    return int(session.execute(_RECORD, values).scalar_one())


def blacklist(session: Session, parent: int, cluster_id: int, campaign_id: int | None = None) -> None:
    """Keep the cluster (or the campaign there) from getting jobs for as long as the event `parent` is open."""
    scope = Scope.CLUSTER if campaign_id is None else Scope.CAMPAIGN
    black = News(BLACKLIST, campaign_id=campaign_id, cluster_id=cluster_id, count=0)
    _insert(session, black, scope, parent=parent)


def close(session: Session, event_ids: Sequence[int]) -> set[int]:
    """Close these events and the blacklists they caused; the ids of those that were open."""
    if not event_ids:
        return set()
    change = (
        update(Event)
        .where(
            or_(among(Event.id, event_ids), and_(among(Event.parent, event_ids), Event.code == BLACKLIST)),
            Event.state == EventState.OPEN,
        )
        .values(state=EventState.CLOSED, date_closed=func.now(), probe_at=None)
        .returning(Event.id)
        .execution_options(synchronize_session=False)
    )
    return set(session.scalars(change)) & set(event_ids)


def is_open(session: Session, news: News) -> bool:
    """Whether an event of this code is open that is alike, about the same campaign and cluster."""
    found = exists().where(
        Event.state == EventState.OPEN,
        Event.code == news.code,
        Event.campaign_id.is_not_distinct_from(news.campaign_id),
        Event.cluster_id.is_not_distinct_from(news.cluster_id),
        Event.alike == news.alike,
    )
    return bool(session.scalar(select(found)))


def blacklisted(
    cluster_id: SQLColumnExpression[int] | int, campaign_id: SQLColumnExpression[int] | int | None = None
) -> ColumnElement[bool]:
    """Whether the cluster is blacklisted as a whole, or (with a campaign) for that campaign: an SQL condition."""
    black = aliased(Event)
    scope: ColumnElement[bool] = black.campaign_id.is_(None)
    if campaign_id is not None:
        scope = or_(scope, black.campaign_id == campaign_id)
    return exists(
        select(black.id).where(
            black.state == EventState.OPEN, black.code == BLACKLIST, black.cluster_id == cluster_id, scope
        )
    )


def is_blacklisted(session: Session, cluster_id: int) -> bool:
    """Whether the cluster is blacklisted as a whole."""
    return bool(session.scalar(select(blacklisted(cluster_id))))


def away(session: Session) -> set[int]:
    """The clusters that are blacklisted as a whole until they answer again."""
    query = select(Event.cluster_id).where(
        Event.class_ == Scope.CLUSTER.value, Event.state == EventState.OPEN, Event.probe_at.is_not(None)
    )
    return {cluster_id for cluster_id in session.scalars(query) if cluster_id is not None}


def due_probes(session: Session, cluster_id: int) -> list[Event]:
    """Open events of the cluster whose healing is to be looked at now."""
    query = select(Event).where(
        Event.cluster_id == cluster_id, Event.state == EventState.OPEN, Event.probe_at <= func.now()
    )
    return list(session.scalars(query))


def put_off(session: Session, event_ids: Sequence[int]) -> None:
    """Look again after twice the delay, at most 10 minutes: for ever, until it heals."""
    longer = func.least(Event.probe_delay + Event.probe_delay, MAX_PROBE_DELAY)
    session.execute(
        update(Event)
        .where(among(Event.id, event_ids))
        .values(probe_delay=longer, probe_at=func.now() + longer)
        .execution_options(synchronize_session=False)
    )


def forget(
    session: Session, code: str, *, of: Collection[int] | None = None, but: Collection[int] | None = None
) -> bool:
    """Close the open events of this code that these clusters have, or all but these; whether there was one."""
    query = select(Event.id).where(
        Event.class_ == Scope.CLUSTER.value, Event.state == EventState.OPEN, Event.code == code
    )
    if of is not None:
        query = query.where(Event.cluster_id.in_(of))
    if but is not None:
        query = query.where(Event.cluster_id.not_in(but))
    return bool(close(session, list(session.scalars(query))))
