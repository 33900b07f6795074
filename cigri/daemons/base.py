"""What all daemons share: signals, rhythm, wake-ups, the duty. A daemon itself is its `cycle`."""

from __future__ import annotations

import logging
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from cigri.config import Settings
from cigri.daemons.signals import Signals
from cigri.daemons.wakeup import Wakeup
from cigri.db import passing
from cigri.db.duties import Duty
from cigri.db.engine import transaction
from cigri.errors import DutyLost

log = logging.getLogger(__name__)

SUPERVISOR = "CIGRI_ALMIGHTY"  # in a daemon's environment: the pid of the almighty that started it
STANDBY_PERIOD = 1.0
LONGEST_BACKOFF = 10.0


class Daemon(ABC):
    """One process with one duty. `cycle` does one round and says in one sentence what it did ("" for nothing)."""

    topics: ClassVar[frozenset[str]] = frozenset()
    min_cycle = 0.0  # least seconds between the starts of two rounds

    def __init__(self, settings: Settings, engine: Engine, name: str) -> None:
        self.settings = settings
        self.engine = engine
        self.name = name
        self.duty = Duty(engine, name, settings.duty_timeout)
        self.writer = 0

    @property
    def period(self) -> float:
        """Seconds until the next round when nobody calls."""
        return self.settings.daemon_period

    @abstractmethod
    def cycle(self) -> str:
        """Do one round."""

    def drop(self) -> None:  # noqa: B027 - most daemons have nothing to forget
        """Forget what was remembered between rounds: the duty was somebody else's for a while."""

    def close(self) -> None:
        """Give back what is held: the duty, connections."""
        self.duty.release()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction of the duty's holder. Raises DutyLost when somebody else has the duty."""
        with transaction(self.engine, self.writer) as session:
            self.duty.check(session)
            yield session

    def run(self, signals: Signals) -> None:
        """Go on until asked to stop; stand by while somebody else has the duty."""
        wakeup = Wakeup(self.engine, self.topics)
        trouble = _Trouble(self.name)
        try:
            while not signals.stop and not signals.reload and not _orphaned():
                began = time.monotonic()
                try:
                    working = self.duty.held or self._take_over()
                    if working and (done := self.cycle()):
                        log.info("%s: %s", self.name, done)
                    trouble.over()
                except DutyLost as lost:
                    log.warning("%s", lost)
                    self.duty.release()
                    continue
                except DBAPIError as error:
                    if not passing.away(error):
                        raise
                    self.duty.release()
                    signals.wait(trouble.begun(error))
                    continue
                if working:
                    self._rest(signals, wakeup, began)
                else:
                    signals.wait(STANDBY_PERIOD)
        finally:
            self.close()
            wakeup.close()

    def _take_over(self) -> bool:
        if not self.duty.acquire():
            return False
        log.info("%s: has the duty now, epoch %d", self.name, self.duty.epoch)
        self.drop()
        return True

    def _rest(self, signals: Signals, wakeup: Wakeup, began: float) -> None:
        """Until somebody calls or the period is over, but never shorter than the least cycle."""
        wakeup.wait(signals, self.period)
        while not (signals.stop or signals.reload) and (left := began + self.min_cycle - time.monotonic()) > 0:
            signals.wait(left)


class _Trouble:
    """Trouble with the database is told once for each kind, not at every try."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._kind = ""
        self._tries = 0

    def begun(self, error: DBAPIError) -> float:
        """Tell about it if it is new; how many seconds to wait before the next try."""
        if (kind := passing.away(error)) != self._kind:
            self._kind = kind
            log.warning("%s: the database: %s", self._name, str(error.orig).strip().split("\n")[0])
        self._tries += 1
        return float(min(LONGEST_BACKOFF, 0.2 * 2 ** min(self._tries, 10)))

    def over(self) -> None:
        if self._tries:
            log.warning("%s: the database is back", self._name)
            self._kind, self._tries = "", 0


def _orphaned() -> bool:
    """Whether the almighty that started this process is gone: the next one starts daemons of its own."""
    supervisor = os.environ.get(SUPERVISOR)
    return supervisor is not None and os.getppid() != int(supervisor)


def again() -> None:
    """Start this program anew in the same process: it reads its configuration again."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
