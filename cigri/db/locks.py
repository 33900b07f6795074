"""The advisory lock of a cluster: whoever sends a request to a cluster holds it, for one request.

A real OAR answers one request at a time; runner, nikita, updater, the API and gridadmin are separate processes,
perhaps on two hosts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from cigri.errors import CigriError

_SPACE = 0x43  # the first half of the lock's name; duties use another


class ClusterBusy(CigriError):
    """Somebody else keeps the cluster busy: try again later."""


_TAKE = text("SELECT pg_advisory_lock(:space, :cluster)")
_GIVE_BACK = text("SELECT pg_advisory_unlock(:space, :cluster)")


class LockSession:
    """One plain connection outside any transaction, on which the locks of clusters are held, one at a time.

    `wait`: seconds to wait for a lock at most, then ClusterBusy; None: for ever. Not for use by several threads.
    """

    def __init__(self, engine: Engine, *, wait: float | None = None) -> None:
        self._engine = engine
        self._wait = wait
        self._connection: Connection | None = None

    @contextmanager
    def hold(self, cluster_id: int) -> Iterator[None]:
        """Hold the lock of the cluster for the block."""
        which = {"space": _SPACE, "cluster": cluster_id}
        connection = self._take(which)
        try:
            yield
        finally:
            try:
                connection.execute(_GIVE_BACK, which)
            except DBAPIError:
                self.close()  # the lock went with the connection

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _take(self, which: dict[str, int]) -> Connection:
        kept = self._connection is not None
        connection = self._connection = self._connection or self._connect()
        try:
            connection.execute(_TAKE, which)
        except OperationalError as error:
            self.close()
            if getattr(error.orig, "sqlstate", None) == "55P03":  # lock_not_available
                raise ClusterBusy("the cluster is busy with other requests of the grid: try again later") from None
            if kept:  # it died since it was used last
                return self._take(which)
            raise
        except BaseException:
            self.close()
            raise
        return connection

    def _connect(self) -> Connection:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        milliseconds = 0 if self._wait is None else max(1, int(self._wait * 1000))
        connection.execute(text("SELECT set_config('lock_timeout', :timeout, false)"), {"timeout": str(milliseconds)})
        return connection


class ClusterLock:
    """The lock of one cluster, on a session of its own."""

    def __init__(self, engine: Engine, cluster_id: int, *, wait: float | None = None) -> None:
        self._session = LockSession(engine, wait=wait)
        self._cluster_id = cluster_id

    def __call__(self) -> AbstractContextManager[None]:
        """Hold the lock for a block. Raises ClusterBusy."""
        return self._session.hold(self._cluster_id)

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()
