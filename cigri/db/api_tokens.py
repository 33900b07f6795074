"""Personal tokens for the REST API. What is kept of one is its digest; the token itself is shown once and forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from cigri.db.tables import ApiToken

USE_NOTED = timedelta(minutes=10)  # a token's use is written down this often


def create(session: Session, user: str, digest: str, lifetime: timedelta) -> ApiToken:
    """Keep a new token of the user."""
    token = ApiToken(grid_user=user, digest=digest, expires_at=func.now() + lifetime)
    session.add(token)
    session.flush()
    session.refresh(token)
    return token


def count(session: Session, user: str) -> int:
    """How many tokens the user has that are valid."""
    query = select(func.count()).where(ApiToken.grid_user == user, ApiToken.expires_at > func.now())
    return session.execute(query).scalar_one()


def of_user(session: Session, user: str) -> Sequence[ApiToken]:
    """The user's tokens that are valid, oldest first."""
    query = select(ApiToken).where(ApiToken.grid_user == user, ApiToken.expires_at > func.now())
    return session.scalars(query.order_by(ApiToken.id)).all()


def revoke(session: Session, user: str, token_id: int) -> bool:
    """Forget a token of the user; whether there was one. Expired ones go with it."""
    mine = ApiToken.grid_user == user
    session.execute(delete(ApiToken).where(mine, ApiToken.id != token_id, ApiToken.expires_at <= func.now()))
    gone = delete(ApiToken).where(mine, ApiToken.id == token_id).returning(ApiToken.id)
    return session.scalar(gone) is not None


def user_of(session: Session, digest: str) -> str | None:
    """Whose token it is, if it is valid now."""
    query = select(ApiToken).where(ApiToken.digest == digest, ApiToken.expires_at > func.now())
    token = session.scalar(query)
    if token is None:
        return None
    session.execute(
        update(ApiToken)
        .where(
            ApiToken.id == token.id,
            func.coalesce(ApiToken.last_used_at, ApiToken.created_at) <= func.now() - USE_NOTED,
        )
        .values(last_used_at=func.now())
        .execution_options(synchronize_session=False)
    )
    return token.grid_user
