"""Who wants to be told, where, and from which severity on."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cigri.core.events import Severity
from cigri.core.telling import Channel
from cigri.db.tables import Subscription
from cigri.errors import CigriError

MOST = 20  # of one user
_SPACE = 0x53  # advisory locks of a user's subscriptions


class TooMany(CigriError):
    """The user has as many subscriptions as a user may have."""


def of_user(session: Session, user: str) -> list[Subscription]:
    """The user's subscriptions, oldest first."""
    return list(session.scalars(select(Subscription).where(Subscription.grid_user == user).order_by(Subscription.id)))


def of_users(session: Session, users: Collection[str], channels: Collection[Channel]) -> list[Subscription]:
    """What these users wait for on these channels."""
    mine = select(Subscription).where(Subscription.grid_user.in_(users), Subscription.type.in_(channels))
    return list(session.scalars(mine.order_by(Subscription.id)))


def subscribe(
    session: Session, user: str, channel: Channel, identity: str, severity: Severity, sealed: str | None = None
) -> bool:
    """Subscribe, or change the severity of what was subscribed; whether it is new. Raises TooMany.

    `sealed` is the URL of a webhook, of which `identity` is the name.
    """
    lock = text("SELECT pg_advisory_xact_lock(:space, hashtext(:user))")
    session.execute(lock, {"space": _SPACE, "user": user})
    mine = Subscription.grid_user == user
    this = session.scalar(
        select(Subscription.id).where(mine, Subscription.type == channel, Subscription.identity == identity)
    )
    if this is None and (session.scalar(select(func.count()).select_from(Subscription).where(mine)) or 0) >= MOST:
        raise TooMany(f"You have {MOST} subscriptions, and nobody may have more: gridnotify -l lists them")
    values = {"grid_user": user, "type": channel, "identity": identity, "severity": severity, "sealed": sealed}
    change = insert(Subscription).values(**values)
    session.execute(
        change.on_conflict_do_update(
            index_elements=[Subscription.grid_user, Subscription.type, Subscription.identity],
            set_={"severity": change.excluded.severity, "sealed": change.excluded.sealed},
        )
    )
    return this is None


def unsubscribe(session: Session, user: str, channel: Channel, identity: str) -> bool:
    """End a subscription; what waits for it is dropped. Whether there was one."""
    gone = (
        delete(Subscription)
        .where(Subscription.grid_user == user, Subscription.type == channel, Subscription.identity == identity)
        .returning(Subscription.id)
    )
    return session.scalar(gone) is not None
