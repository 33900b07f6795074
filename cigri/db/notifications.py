"""What is to be told: events that nobody has heard of, and the messages that wait to leave.

Marking events as told and writing the messages is one transaction, so an event is told once whatever dies. A
message is deleted after a server has accepted it: what dies in between repeats it under the same message id.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cigri.core.events import MEANINGS
from cigri.core.telling import Blacklist, Channel, Happening, Letter, Subject, Telling, codes
from cigri.db.tables import Campaign, CampaignProgress, Notification, Subscription

KINDS = 200  # of events that are told in one round
EVENTS = 5000
REMINDER = "REMINDER"
REMINDED = 200  # blacklists in one reminder

# Of what wakes the telling; the index events_untold has the same condition.
_UNTOLD = "(e.notified_at IS NULL OR (e.state = 'open' AND e.count > e.notified_count))"

# Nobody hears of these: codes that are never told, and what was over before it was told.
_HUSH = text(f"""
    UPDATE events AS e SET notified_at = now(), notified_count = e.count
    WHERE {_UNTOLD} AND (NOT e.code = ANY(:told) OR (e.state = 'closed' AND e.code = ANY(:waiting)))
""")  # noqa: S608 - only our own words

# The kinds that are due: gathered for long enough, and not told a short while ago. Of what waits for a hand, a
# new event is told at once when all that was told before is closed: somebody has dealt with that.
_DUE = f"""
    SELECT k.code, k.campaign, k.cluster FROM (
        SELECT e.code, coalesce(e.campaign_id, 0) AS campaign, min(e.date_open) AS since,
               CASE WHEN e.class = 'job' THEN 0 ELSE coalesce(e.cluster_id, 0) END AS cluster
        FROM events AS e WHERE {_UNTOLD} GROUP BY 1, 2, 4) AS k
    LEFT JOIN told_kinds AS t ON t.code = k.code AND coalesce(t.campaign_id, 0) = k.campaign
        AND coalesce(t.cluster_id, 0) = k.cluster
    WHERE k.since <= now() - CAST(:gathering AS interval)
        AND (k.code = ANY(:each) OR t.told_at IS NULL OR t.told_at <= now() - CAST(:period AS interval)
             OR (k.code = ANY(:while_open) AND NOT EXISTS (
                 SELECT FROM events AS o WHERE o.state = 'open' AND o.code = k.code AND o.notified_at IS NOT NULL
                     AND coalesce(o.campaign_id, 0) = k.campaign
                     AND (o.class = 'job' OR coalesce(o.cluster_id, 0) = k.cluster))))
    ORDER BY k.since LIMIT :kinds
"""  # noqa: S608

_TAKE = text(f"""
    WITH due AS ({_DUE})
    SELECT e.id, e.code, e.message, e.count AS times, e.count - e.notified_count AS more, e.date_open, e.campaign_id,
           e.cluster_id, e.job_id, e.last_job_id, e.grid_user, CAST(e.class AS text) AS class_,
           e.notified_at IS NOT NULL AS told_before
    FROM due JOIN events AS e ON e.code = due.code AND coalesce(e.campaign_id, 0) = due.campaign
        AND (e.class = 'job' OR coalesce(e.cluster_id, 0) = due.cluster)
    WHERE {_UNTOLD} ORDER BY e.id LIMIT :events
    FOR NO KEY UPDATE OF e SKIP LOCKED
""")  # noqa: S608

_MARK = text("UPDATE events SET notified_at = now(), notified_count = count WHERE id = ANY(:ids)")

_REMEMBER = text("""
    INSERT INTO told_kinds (code, campaign_id, cluster_id, told_at) VALUES (:code, :campaign_id, :cluster_id, now())
    ON CONFLICT (code, coalesce(campaign_id, 0), coalesce(cluster_id, 0)) DO UPDATE SET told_at = now()
""")

_BLACKLISTS = text("""
    SELECT coalesce(p.code, 'BLACKLIST') AS cause, coalesce(p.message, b.message) AS message, cl.name AS cluster,
           b.date_open AS since, coalesce(p.id, b.id) AS event_id, b.campaign_id, coalesce(c.name, '') AS campaign_name,
           coalesce(c.grid_user, '') AS owner
    FROM events AS b LEFT JOIN events AS p ON p.id = b.parent
        JOIN clusters AS cl ON cl.id = b.cluster_id LEFT JOIN campaigns AS c ON c.id = b.campaign_id
    WHERE b.state = 'open' AND b.code = 'BLACKLIST' AND b.date_open <= now() - CAST(:age AS interval)
        AND cl.removed_at IS NULL AND (c.id IS NULL OR c.state IN ('in_treatment', 'paused'))
    ORDER BY b.campaign_id IS NOT NULL, b.date_open LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be sent to a subscription."""

    subscription_id: int
    message_id: str
    subject: str
    body: str


def take(session: Session, *, gathering: timedelta, period: timedelta) -> list[Happening]:
    """The events that are to be told now. They are marked as told: write the messages in the same transaction."""
    told = [code for how in Telling if how is not Telling.NEVER for code in codes(how)]
    waiting = [code for code, sense in MEANINGS.items() if not sense.passing]
    session.execute(_HUSH, {"told": told, "waiting": waiting})
    values = {
        "gathering": gathering,
        "period": period,
        "each": codes(Telling.EACH),
        "while_open": codes(Telling.WHILE_OPEN),
        "kinds": KINDS,
        "events": EVENTS,
    }
    taken = session.execute(_TAKE, values).all()
    if not taken:
        return []
    session.execute(_MARK, {"ids": [row.id for row in taken]})
    _remember(session, taken)
    about = _subjects(session, {row.campaign_id for row in taken if row.campaign_id})
    names = _cluster_names(session, {row.cluster_id for row in taken if row.cluster_id})
    return [
        Happening(
            row.code,
            row.message,
            row.times,
            row.more,
            row.told_before,
            row.date_open,
            about.get(row.campaign_id),
            names.get(row.cluster_id),
            row.job_id,
            row.last_job_id,
            row.grid_user,
        )
        for row in taken
    ]


def _remember(session: Session, taken: Sequence[Any]) -> None:
    each = set(codes(Telling.EACH))
    kinds = {
        (row.code, row.campaign_id, None if row.class_ == "job" else row.cluster_id)
        for row in taken
        if row.code not in each
    }
    for code, campaign_id, cluster_id in sorted(kinds, key=str):
        session.execute(_REMEMBER, {"code": code, "campaign_id": campaign_id, "cluster_id": cluster_id})


def _subjects(session: Session, ids: Collection[int]) -> dict[int, Subject]:
    query = (
        select(Campaign, CampaignProgress)
        .outerjoin(CampaignProgress, CampaignProgress.campaign_id == Campaign.id)
        .where(Campaign.id.in_(ids))
    )
    found = {}
    for campaign, progress in session.execute(query):
        done, failed, cancelled = (progress.done, progress.failed, progress.cancelled) if progress else (0, 0, 0)
        found[campaign.id] = Subject(
            campaign.id, campaign.name, campaign.grid_user, campaign.total_tasks, done, failed, cancelled
        )
    return found


def _cluster_names(session: Session, ids: Collection[int]) -> dict[int, str]:
    rows = session.execute(text("SELECT id, name FROM clusters WHERE id = ANY(:ids)"), {"ids": list(ids)})
    return {row.id: row.name for row in rows}


def due_reminder(session: Session, period: timedelta) -> list[Blacklist]:
    """The blacklists of which the administrator is to be reminded now: open for a period at least."""
    last = text("SELECT told_at > now() - CAST(:period AS interval) FROM told_kinds WHERE code = :code")
    if session.scalar(last, {"period": period, "code": REMINDER}):
        return []
    rows = session.execute(_BLACKLISTS, {"age": period, "most": REMINDED}).all()
    if rows:
        session.execute(_REMEMBER, {"code": REMINDER, "campaign_id": None, "cluster_id": None})
    return [Blacklist(**row._mapping) for row in rows]


def forget_old(session: Session, age: timedelta) -> None:
    """Forget when kinds were told, where that keeps nothing back any more."""
    session.execute(text("DELETE FROM told_kinds WHERE told_at < now() - CAST(:age AS interval)"), {"age": age})


# --- messages that wait


def post(session: Session, drafts: Sequence[Draft]) -> None:
    """Let these messages wait for their server."""
    if drafts:
        session.execute(insert(Notification), [asdict(one) for one in drafts])


def due(session: Session, channel: Channel, limit: int) -> list[Letter]:
    """The messages of this channel whose next try is due, oldest first."""
    query = (
        select(Notification, Subscription)
        .join(Subscription, Subscription.id == Notification.subscription_id)
        .where(Subscription.type == channel, Notification.next_try <= func.now())
        .order_by(Notification.id)
        .limit(limit)
    )
    return [
        Letter(one.id, to.sealed or to.identity, one.message_id, one.subject, one.body, to.grid_user, one.tries)
        for one, to in session.execute(query)
    ]


def delivered(session: Session, letter_id: int) -> None:
    """A server has accepted it."""
    session.execute(delete(Notification).where(Notification.id == letter_id))


def put_off(session: Session, letter_id: int, delay: timedelta) -> None:
    """It was not accepted; it is tried again after the delay."""
    session.execute(
        update(Notification)
        .where(Notification.id == letter_id)
        .values(tries=func.least(Notification.tries + 1, 1000), next_try=func.now() + delay)
        .execution_options(synchronize_session=False)
    )


def give_up(session: Session, age: timedelta) -> list[Letter]:
    """Drop the messages that have waited too long; they are returned to be told of."""
    old = delete(Notification).where(Notification.created_at < func.now() - age).returning(Notification)
    dropped = list(session.scalars(old.execution_options(synchronize_session=False)))
    if not dropped:
        return []
    ids = {one.subscription_id for one in dropped}
    to = {one.id: one for one in session.scalars(select(Subscription).where(Subscription.id.in_(ids)))}
    return [
        Letter(
            one.id,
            to[one.subscription_id].type.value,
            one.message_id,
            one.subject,
            one.body,
            to[one.subscription_id].grid_user,
            one.tries,
        )
        for one in dropped
        if one.subscription_id in to
    ]
