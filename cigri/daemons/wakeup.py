"""Being woken by the database. A notification only shortens a wait: polling stays the truth."""

from __future__ import annotations

import time
from collections.abc import Collection

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from cigri.daemons.signals import Signals


class Wakeup:
    """LISTENs for topics (cigri.db.engine.notify) on a connection of its own."""

    def __init__(self, engine: Engine, topics: Collection[str]) -> None:
        self._engine = engine
        self._topics = frozenset(topics)
        self._connection: Connection | None = None
        self._listener: psycopg.Connection | None = None

    def wait(self, signals: Signals, seconds: float) -> bool:
        """Sleep until a signal, the time, or a notification of one of the topics; whether it was one."""
        try:
            listener = self._listen()
        except DBAPIError:
            signals.wait(min(seconds, 1.0))
            return False
        until = time.monotonic() + seconds
        while not self._heard(listener):
            left = until - time.monotonic()
            if left <= 0 or signals.stop or signals.reload or not signals.wait(left, [listener.fileno()]):
                return False
        return True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = self._listener = None

    def _listen(self) -> psycopg.Connection:
        if self._listener is None:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connection.execute(text("LISTEN cigri"))
            listener = self._connection.connection.driver_connection
            assert isinstance(listener, psycopg.Connection)
            self._listener = listener
        return self._listener

    def _heard(self, listener: psycopg.Connection) -> bool:
        """Whether something was notified; a broken connection is a reason to look, too."""
        try:
            return any(note.payload in self._topics for note in list(listener.notifies(timeout=0)))
        except psycopg.Error:
            self.close()
            return True
