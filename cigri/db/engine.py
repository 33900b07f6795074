"""Connections to the database and transactions on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, NullPool, text
from sqlalchemy import create_engine as _create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from cigri.errors import DatabaseError

# A peer that went away without a word is noticed within 9 seconds, by us (libpq's words) and by the server (its own).
SERVER = {
    "synchronous_commit": "on",
    "timezone": "UTC",
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "9000",
}
CONNECT_ARGS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 3,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 9000,
}
# A plan for any values knows neither which rows a partial index has nor how large a campaign is.
ANY_SIZE = {"plan_cache_mode": "force_custom_plan", "jit": "off"}

_WRITER = text("SELECT set_config('cigri.writer', :writer, true)")
_NOTIFY = text("SELECT pg_notify('cigri', :topic)")


def create_engine(
    url: str, *, application: str = "cigri", pool_size: int = 2, idle_limit: float = 0, any_size: bool = False
) -> Engine:
    """An engine for one process. `application` is what pg_stat_activity shows.

    pool_size 0: every transaction opens a connection of its own. idle_limit: the server undoes a transaction that
    nobody has gone on with for so many seconds, 0 for never; what it has locked would wait for a host that is gone.
    any_size: for questions about campaigns of any size: each is planned for what it asks, not once for all.
    """
    server = SERVER | ({"idle_in_transaction_session_timeout": f"{idle_limit * 1000:.0f}"} if idle_limit else {})
    server |= ANY_SIZE if any_size else {}
    options = " ".join(f"-c {name}={value}" for name, value in server.items())
    arguments = {**CONNECT_ARGS, "application_name": application, "options": options}
    if pool_size == 0:
        return _create_engine(url, connect_args=arguments, poolclass=NullPool)
    return _create_engine(url, connect_args=arguments, pool_size=pool_size, max_overflow=20, pool_pre_ping=True)


@contextmanager
def transaction(engine: Engine, writer: int = 0) -> Iterator[Session]:
    """One transaction: committed at the end of the block, rolled back when an exception leaves it.

    `writer` is the row of campaign_counts that moved tasks are counted in: a runner passes its cluster's id.
    """
    with Session(engine, expire_on_commit=False) as session, session.begin():
        if writer:
            session.execute(_WRITER, {"writer": str(writer)})
        yield session


def notify(session: Session, topic: str) -> None:
    """Wake whoever listens; `topic` says what changed (campaigns, allowances, jobs, kills, clusters)."""
    session.execute(_NOTIFY, {"topic": topic})


def require_safety(engine: Engine) -> None:
    """Raise DatabaseError unless the server keeps what it acknowledged and the connection is a session of its own.

    A server that is away is none of that: the daemons wait for it.
    """
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            backend = connection.scalar(text("SELECT pg_backend_pid()"))
            connection.execute(text("SELECT set_config('cigri.session', 'mine', false)"))
            fsync = connection.scalar(text("SELECT current_setting('fsync')"))
            kept = connection.scalar(text("SELECT current_setting('cigri.session', true)"))
            same = connection.scalar(text("SELECT pg_backend_pid()")) == backend
    except OperationalError:
        return
    if not same or kept != "mine":
        raise DatabaseError("the database is behind a proxy that pools transactions: connect to it directly")
    if fsync != "on" and os.environ.get("CIGRI_UNSAFE_DATABASE") != "yes":
        raise DatabaseError("the database runs with fsync=off: what it acknowledged may be lost; switch fsync on")
