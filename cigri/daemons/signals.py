"""Signals as a daemon wants them: handlers only set a flag, and a pipe ends every sleep at once."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Sequence
from types import FrameType


class Signals:
    """SIGTERM and SIGINT ask to stop, SIGHUP to reload. One object per process, made in its main thread."""

    def __init__(self) -> None:
        self.stop = False
        self.reload = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        signal.signal(signal.SIGHUP, self._asked_to_reload)
        signal.signal(signal.SIGCHLD, _nothing)

    def wait(self, seconds: float, descriptors: Sequence[int] = ()) -> list[int]:
        """Sleep until a signal, the time, or input on one of the descriptors; those that have input."""
        ready, _, _ = select.select([self._read, *descriptors], [], [], max(0.0, seconds))
        if self._read in ready:
            os.read(self._read, 4096)
        return [descriptor for descriptor in descriptors if descriptor in ready]

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop = True

    def _asked_to_reload(self, number: int, frame: FrameType | None) -> None:
        self.reload = True


def _nothing(number: int, frame: FrameType | None) -> None:
    """A handler, so that the signal ends a sleep."""
