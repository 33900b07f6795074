"""One holder per duty: a session's advisory lock, an epoch that fences who lost it, a stamp that shows it lives.

The holder of the duty keeps one connection for it. A thread stamps `seen` on it every 3 seconds: who stands by
and finds 12 seconds of silence ends that connection and takes over. Whatever the holder writes is checked
against its epoch in the same transaction; before it sends anything to a cluster, a round trip on the duty's
connection must have succeeded less than 5 seconds ago.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time

from sqlalchemy import Connection, Engine, bindparam, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from cigri.db.tables import Duty as Row
from cigri.errors import DutyLost

log = logging.getLogger(__name__)

STAMP_PERIOD = 3.0
FRESHNESS = 5.0
END_OF_BACKEND = 1.0
_SPACE = 0x44

# FOR UPDATE waits for the transactions that were checked before; a mere update of the row, like a stamp, would not.
_TAKE = text("""
    WITH checked AS (SELECT epoch FROM duties WHERE name = :name FOR UPDATE)
    INSERT INTO duties AS d (name, epoch, host, pid, backend_pid, seen)
    SELECT :name, 1, :host, :pid, pg_backend_pid(), clock_timestamp() FROM (SELECT count(*) FROM checked) AS waited
    ON CONFLICT (name) DO UPDATE SET epoch = d.epoch + 1, host = excluded.host, pid = excluded.pid,
        backend_pid = excluded.backend_pid, seen = excluded.seen
    RETURNING epoch
""")
_SILENT = text("""
    SELECT d.backend_pid, d.pid, d.host FROM duties d
        JOIN pg_locks l ON l.pid = d.backend_pid AND l.locktype = 'advisory' AND l.classid = :space
        AND CAST(l.objid AS bigint) = CAST(hashtext(:name) AS bigint) & 4294967295
    WHERE d.name = :name AND d.seen < clock_timestamp() - make_interval(secs => :timeout)
""")
# What a process that is gone held besides its duty (a cluster's lock) would else be waited for until TCP notices.
_END = text("""
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND (pid = :backend_pid OR application_name = :sessions)
""")
_EPOCH = select(Row.epoch).where(Row.name == bindparam("duty")).with_for_update(read=True, key_share=True)
LONGEST_APPLICATION = 63


def session_name(name: str, pid: int, host: str) -> str:
    """What the sessions of the process that has, or wants, this duty are called in pg_stat_activity."""
    return f"cigri {pid}@{host} {name}"[:LONGEST_APPLICATION]


def boottime() -> float:
    """Seconds since boot, those asleep included: a suspended host notices that it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Duty:
    """The holding of one duty by this process. Only one thread may use it, besides the one it starts itself.

    `check` and `guard` are for any thread.
    """

    def __init__(self, engine: Engine, name: str, timeout: float = 12.0) -> None:
        self.name = name
        self.epoch = 0
        self._engine = engine
        self._timeout = timeout
        self._connection: Connection | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen = 0.0

    @property
    def held(self) -> bool:
        return self._connection is not None and not self._stop.is_set()

    def acquire(self) -> bool:
        """Try to take the duty, once. A holder that has been silent for too long is cut off."""
        self.release()
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            asked = boottime()
            if not (self._lock(connection) or (self._cut_off_silent(connection) and self._lock_soon(connection))):
                connection.close()
                return False
            who = {"name": self.name, "host": socket.gethostname(), "pid": os.getpid()}
            self.epoch = int(connection.execute(_TAKE, who).scalar_one())
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        self._connection, self._seen = connection, asked
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._stamp, args=(connection, self._stop), name="duty", daemon=True)
        self._thread.start()
        return True

    def release(self) -> None:
        """Give the duty back, if it is held. Whoever stands by gets it at once."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=STAMP_PERIOD * 2)
            self._thread = None
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def check(self, session: Session) -> None:
        """Make this transaction one of the holder's. Raises DutyLost when somebody else has taken the duty.

        A successor waits until the transaction has ended (FOR KEY SHARE); the holder's own stamps do not.
        """
        epoch = session.scalar(_EPOCH, {"duty": self.name})
        if epoch != self.epoch or not self.held:
            raise DutyLost(f"duty {self.name}: somebody else has it now (epoch {epoch}, ours was {self.epoch})")

    def guard(self) -> None:
        """Raise DutyLost unless the duty was surely ours less than 5 seconds ago: call it right before a request."""
        if not self.held or boottime() - self._seen > FRESHNESS:
            raise DutyLost(f"duty {self.name}: not sure to have it any more")

    def _lock(self, connection: Connection) -> bool:
        name = {"space": _SPACE, "name": self.name}
        return bool(connection.scalar(text("SELECT pg_try_advisory_lock(:space, hashtext(:name))"), name))

    def _lock_soon(self, connection: Connection) -> bool:
        """A holder that was cut off is gone in a moment."""
        end = time.monotonic() + END_OF_BACKEND
        while not (locked := self._lock(connection)) and time.monotonic() < end:
            time.sleep(0.05)
        return locked

    def _cut_off_silent(self, connection: Connection) -> bool:
        """Cut off the holder if it is silent; whether it was."""
        cut = False
        silent = {"name": self.name, "space": _SPACE, "timeout": self._timeout}
        for backend_pid, pid, host in connection.execute(_SILENT, silent).all():
            log.warning("duty %s: its holder is silent for over %g s, cut off", self.name, self._timeout)
            end = {"backend_pid": backend_pid, "sessions": session_name(self.name, pid, host)}
            cut = bool(connection.scalar(_END, end))
        return cut

    def _stamp(self, connection: Connection, stop: threading.Event) -> None:
        query = text("UPDATE duties SET seen = clock_timestamp() WHERE name = :name AND epoch = :epoch")
        while not stop.wait(STAMP_PERIOD):
            asked = boottime()
            try:
                stamped = connection.execute(query, {"name": self.name, "epoch": self.epoch}).rowcount
            except DBAPIError as error:
                log.warning("duty %s: lost with its connection (%s)", self.name, str(error.orig).split("\n")[0])
                break
            if not stamped:
                log.warning("duty %s: taken over by somebody else", self.name)
                break
            self._seen = asked
        stop.set()
