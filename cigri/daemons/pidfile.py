"""A pid file that is a lock: it goes with the process that holds it, so a stale one never stands in the way."""

from __future__ import annotations

import fcntl
import os

from cigri.errors import CigriError


class AlreadyRunning(CigriError):
    """Another process holds the pid file."""


class PidFile:
    """The file at `path`. Its descriptor must survive a fork to keep the lock."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def take(self) -> int:
        """Take the lock; the descriptor that holds it. Raises AlreadyRunning with the holder's pid."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise CigriError(f"pid file {self._path}: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._descriptor, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise AlreadyRunning(f"already running: pid {holder} ({self._path})") from None
        return self._descriptor

    def write(self) -> None:
        """Write our pid into it."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)
