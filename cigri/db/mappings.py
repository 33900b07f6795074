"""Who grid users are on the clusters, and the tokens that prove it. Tokens are sealed before they come here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, Update, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cigri.core.states import EventState
from cigri.core.tokens import Claims
from cigri.db import repair
from cigri.db.engine import notify
from cigri.db.tables import Campaign, Cluster, Event, UserMapping

TOKEN_TROUBLE = ("RUNNER_SUBMIT_TOKEN_NOT_FOUND", "RUNNER_SUBMIT_PERMISSION_DENIED")
_NO_SYNC = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping with its cluster's name."""

    mapping: UserMapping
    cluster_name: str


def has_own_tokens(cluster: Cluster) -> bool:
    """Whether the cluster is asked with each user's own token."""
    return cluster.api_auth_type == "jwt" and not cluster.token_file


def purpose(grid_login: str, cluster_id: int) -> str:
    """What a token is sealed for."""
    return f"token of {grid_login} on cluster {cluster_id}"


def login_of(session: Session, grid_login: str, cluster_id: int) -> str:
    """The user's name on the cluster: as the token says where tokens count, else as mapped, else the same."""
    row = session.execute(
        select(UserMapping, Cluster)
        .join(Cluster, Cluster.id == UserMapping.cluster_id)
        .where(UserMapping.grid_login == grid_login, UserMapping.cluster_id == cluster_id)
    ).one_or_none()
    if row is None:
        return grid_login
    mapping, cluster = row
    # What a token says is believed where the cluster judges that token, nowhere else.
    said = mapping.token_login if has_own_tokens(cluster) else None
    return said or mapping.cluster_login or grid_login


def find(session: Session, grid_login: str, cluster_id: int) -> UserMapping | None:
    """The user's mapping on the cluster."""
    return session.get(UserMapping, (grid_login, cluster_id))


def bearer_of(session: Session, cluster_login: str, cluster_id: int) -> str | None:
    """A grid user whose token is one of this user of the cluster."""
    said = func.coalesce(UserMapping.token_login, UserMapping.cluster_login, UserMapping.grid_login)
    query = select(UserMapping.grid_login).where(
        UserMapping.cluster_id == cluster_id, UserMapping.token.is_not(None), said == cluster_login
    )
    return session.scalar(query.order_by(UserMapping.stored_at.desc()).limit(1))


def of_user(session: Session, grid_login: str) -> list[Mapped]:
    """The user's tokens, by cluster."""
    query = _mapped().where(UserMapping.grid_login == grid_login, UserMapping.token.is_not(None))
    return [Mapped(*row) for row in session.execute(query)]


def everybody(session: Session) -> list[Mapped]:
    """All mappings, by cluster and user."""
    return [Mapped(*row) for row in session.execute(_mapped())]


def _mapped() -> Select[*tuple[Any, ...]]:
    return (
        select(UserMapping, Cluster.name)
        .join(Cluster, Cluster.id == UserMapping.cluster_id)
        .where(Cluster.removed_at.is_(None))
        .order_by(UserMapping.cluster_id, UserMapping.grid_login)
    )


def map_login(session: Session, grid_login: str, cluster_id: int, cluster_login: str) -> None:
    """Say who a grid user is on a cluster."""
    row = insert(UserMapping).values(grid_login=grid_login, cluster_id=cluster_id, cluster_login=cluster_login)
    keys = [UserMapping.grid_login, UserMapping.cluster_id]
    session.execute(row.on_conflict_do_update(index_elements=keys, set_={"cluster_login": cluster_login}))


def unmap_login(session: Session, grid_login: str, cluster_id: int) -> bool:
    """The user has the same name there again; whether it was another. A token stays."""
    mine = (UserMapping.grid_login == grid_login, UserMapping.cluster_id == cluster_id)
    change = update(UserMapping).where(*mine, UserMapping.cluster_login.is_not(None)).values(cluster_login=None)
    changed = session.execute(change.returning(UserMapping.grid_login).execution_options(**_NO_SYNC)).first()
    session.execute(delete(UserMapping).where(*mine, UserMapping.token.is_(None)).execution_options(**_NO_SYNC))
    return changed is not None


def store(session: Session, grid_login: str, cluster_id: int, sealed: str, said: Claims) -> int:
    """Keep a token instead of the one that was there; how many campaigns go on there now."""
    values = {
        "token": sealed,
        "token_login": said.user,
        "expires_at": said.expires,
        "stored_at": func.now(),
        "renew_at": None,
        "told_at": None,
    }
    row = insert(UserMapping).values(grid_login=grid_login, cluster_id=cluster_id, **values)
    keys = [UserMapping.grid_login, UserMapping.cluster_id]
    session.execute(row.on_conflict_do_update(index_elements=keys, set_=values))
    return _reopen(session, grid_login, cluster_id)


def replace(session: Session, old: UserMapping, sealed: str, said: Claims) -> bool:
    """Keep a renewed token, unless its owner has stored or removed one meanwhile; whether it is kept."""
    change = (
        update(UserMapping)
        .where(
            UserMapping.grid_login == old.grid_login,
            UserMapping.cluster_id == old.cluster_id,
            UserMapping.token == old.token,
        )
        .values(token=sealed, expires_at=said.expires, stored_at=func.now(), renew_at=None, told_at=None)
        .returning(UserMapping.grid_login)
        .execution_options(**_NO_SYNC)
    )
    return session.scalar(change) is not None


def _reopen(session: Session, grid_login: str, cluster_id: int) -> int:
    """Close the events that waited for a token of the user there."""
    query = (
        select(Event.id)
        .join(Campaign, Campaign.id == Event.campaign_id)
        .where(
            Campaign.grid_user == grid_login,
            Event.cluster_id == cluster_id,
            Event.state == EventState.OPEN,
            Event.code.in_(TOKEN_TROUBLE),
        )
    )
    closed = repair.fix(session, session.scalars(query).all(), resubmit=False, healed=True).events
    notify(session, "clusters")
    return len(closed)


def remove(session: Session, grid_login: str, cluster_id: int) -> bool:
    """Forget a token; whether there was one. What an administrator mapped stays."""
    mine = (UserMapping.grid_login == grid_login, UserMapping.cluster_id == cluster_id)
    nothing = dict.fromkeys(("token", "token_login", "expires_at", "stored_at", "renew_at", "told_at"))
    change = update(UserMapping).where(*mine, UserMapping.token.is_not(None)).values(**nothing)
    had = session.execute(change.returning(UserMapping.grid_login).execution_options(**_NO_SYNC)).first()
    session.execute(delete(UserMapping).where(*mine, UserMapping.cluster_login.is_(None)).execution_options(**_NO_SYNC))
    return had is not None


def expiring(session: Session, cluster_id: int) -> Sequence[UserMapping]:
    """The tokens for the cluster that will expire and may be looked at now."""
    query = select(UserMapping).where(
        UserMapping.cluster_id == cluster_id,
        UserMapping.token.is_not(None),
        UserMapping.expires_at.is_not(None),
        func.coalesce(UserMapping.renew_at, func.now()) <= func.now(),
    )
    return session.scalars(query).all()


def put_off(session: Session, mapping: UserMapping, wait: timedelta) -> None:
    """Do not try to renew the token before this time has passed."""
    session.execute(_of(mapping).values(renew_at=func.now() + wait))


def note_told(session: Session, mapping: UserMapping) -> bool:
    """Note that the owner is told now; whether that was not so before."""
    change = _of(mapping).where(UserMapping.told_at.is_(None)).values(told_at=func.now())
    return session.scalar(change.returning(UserMapping.grid_login)) is not None


def _of(mapping: UserMapping) -> Update:
    return (
        update(UserMapping)
        .where(UserMapping.grid_login == mapping.grid_login, UserMapping.cluster_id == mapping.cluster_id)
        .execution_options(**_NO_SYNC)
    )


def expired(mapping: UserMapping, now: datetime) -> bool:
    """Whether the token's time is over."""
    return mapping.expires_at is not None and mapping.expires_at <= now
