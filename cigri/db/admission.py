"""What admission rules want to know of a user."""

from __future__ import annotations

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from cigri.core.states import UNFINISHED
from cigri.db.tables import Campaign

_ADMISSION_SPACE = 0x4C  # advisory locks of users whose campaigns are being admitted; other spaces have other uses


def wait_turn(session: Session, user: str) -> None:
    """Until the transaction ends nobody else gets past this point for the same user: campaigns are counted in turn."""
    turn = text("SELECT pg_advisory_xact_lock(:space, hashtext(:user))")
    session.execute(turn, {"space": _ADMISSION_SPACE, "user": user})


def unfinished(session: Session, user: str, besides: int | None = None) -> int:
    """How many campaigns of the user are in treatment or paused, not counting one."""
    query = select(func.count()).where(Campaign.grid_user == user, Campaign.state.in_(UNFINISHED))
    if besides is not None:
        query = query.where(Campaign.id != besides)
    return session.execute(query).scalar_one()
