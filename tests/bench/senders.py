"""Who sends jobs to oar_rounds: the grid's runner with its controller, and the original's with its tap.

The decisions are made by the very functions that the daemons call. What is modelled is when: looks at the cluster,
counts of its resources, requests that take time.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from oar_rounds import Job, Oar, World

from cigri.config import Settings
from cigri.core import ceiling, control, tap
from cigri.core.control import Limits, Load
from cigri.core.pace import Pace

THINK = 0.3  # seconds from a look to the first request: reading the list, the metascheduler's turn, claiming
CHUNK = Settings().runner_chunk  # most jobs in one request
COUNT_PERIOD = 10.0  # the updater's
MAX_WAITING = Settings().runner_max_waiting


def request(jobs: int) -> float:
    """Seconds that a cluster takes to accept an array."""
    return 0.5 + 0.005 * jobs


@dataclass
class Bag:
    """Campaigns one after the other, of tasks whose lengths vary by half."""

    length: float
    seed: int = 1
    tasks: int = 10**9  # of each campaign
    campaigns: int = 1
    back: deque[Job] = field(default_factory=deque)  # preempted ones

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)  # noqa: S311 - a simulation
        self.left = Counter(dict.fromkeys(range(self.campaigns), self.tasks))

    def take(self, campaign: int | None, most: int) -> list[Job]:
        """So many tasks of one campaign, or of whichever has some."""
        return list(itertools.islice(self._tasks(campaign), most))

    def _tasks(self, campaign: int | None) -> Iterator[Job]:
        for number in [campaign] if campaign is not None else sorted(self.left):
            for job in [job for job in self.back if job.campaign == number]:
                self.back.remove(job)
                yield Job(number, job.length)
            while self.left[number] > 0:
                self.left[number] -= 1
                yield Job(number, self.length * self._chance.uniform(0.5, 1.5))

    def waiting(self) -> list[int]:
        """The campaigns that have tasks left."""
        return sorted({number for number, left in self.left.items() if left} | {job.campaign for job in self.back})


class Sender:
    """A runner: looks every `period` seconds, then sends; both in one thread."""

    name = ""
    period = 0.0

    def __init__(self, world: World, oar: Oar, bag: Bag, load: Callable[[], float] | None = None) -> None:
        self.world, self.oar, self.bag, self.load = world, oar, bag, load
        self.sending = 0
        self._looked_at = 0.0
        self._busy = False
        world.at(0.0, self.count)
        world.at(0.0, self._look)

    def look(self, elapsed: float) -> None:
        raise NotImplementedError

    def count(self) -> None:
        self.world.after(COUNT_PERIOD, self.count)

    def take(self) -> list[Job]:
        """What is to be sent now."""
        raise NotImplementedError

    def sent(self, seconds: float) -> None:
        """A request was answered after so long."""

    def _look(self) -> None:
        elapsed, self._looked_at = self.world.now - self._looked_at, self.world.now
        self.bag.back.extend(self.oar.preempted)
        self.look(elapsed)
        self.oar.ended, self.oar.started, self.oar.preempted = [], [], []
        self._busy = True
        self.world.after(THINK, self._begin)

    def wake(self) -> None:
        """Something else than a look has changed what is wanted."""
        if not self._busy:
            self._busy = True
            self.world.after(0.1, lambda: self._send(self.take(), self.world.now, looks=False))

    def _begin(self) -> None:
        self._send(self.take(), self.world.now, looks=True)

    def _send(self, jobs: list[Job], began: float, *, looks: bool) -> None:
        if not jobs:
            self._busy = False
            if looks:
                self.world.at(self._looked_at + self.period, self._turn)
            return
        part, rest = jobs[:CHUNK], jobs[CHUNK:]
        self.sending = len(jobs)
        seconds = request(len(part))

        def answered() -> None:
            for job in part:
                job.sent = began
            self.oar.submit(part)
            self.sending = len(rest)
            self.sent(seconds)
            self._send(rest, began, looks=looks)

        self.world.after(seconds, answered)

    def _turn(self) -> None:
        if self._busy:
            self.world.after(0.1, self._turn)
        else:
            self._look()


class Adaptive(Sender):
    """The controller of docs/control.md, with its outer loop where there is a load; its reference is 1."""

    name = "adaptive"
    period = 2.0  # RUNNER_MIN_CYCLE_DURATION

    def __init__(self, *arguments: object, max_waiting: int = MAX_WAITING, lag: float = 60.0) -> None:
        self.pace = Pace(0.0, 2.0, 10.0)
        self.limits = Limits(max_waiting)
        self.ceiling: float | None = None
        self._lag = lag
        self._submission = 1.0
        self._running = self._waiting = self._free = self._running_then = self._reached = 0
        super().__init__(*arguments)  # type: ignore[arg-type]

    def look(self, elapsed: float) -> None:
        starts = [(job.sent, job.start) for job in self.oar.started]
        self.pace.look(
            elapsed,
            [job.end for job in self.oar.ended],
            starts,
            [job.sent for job in self.oar.waiting],
            busy=bool(self.oar.taken or self.oar.waiting),
        )
        self._running = self.oar.running
        self._waiting = len(self.oar.waiting) + self.oar.starting

    def count(self) -> None:
        super().count()
        self._free, self._running_then = self.oar.free, self._running
        if self.load is not None:
            off, period = ceiling.error(self.load(), 1.0), COUNT_PERIOD
            lag = self._lag + period + self._delay()
            self.ceiling = ceiling.step(self.ceiling, off, self._reached, period, lag)
            self._reached = self._running + self._waiting
        self.wake()

    def sent(self, seconds: float) -> None:
        self._submission += control.LEARNING * (seconds - self._submission)

    def take(self) -> list[Job]:
        there = self._running + self._waiting
        jobs = control.order(
            Load(there, self._running, self._free, self._running_then, self.pace.rate, self._waiting, self._delay()),
            self.limits,
        )
        if self.ceiling is not None:
            jobs = min(jobs, ceiling.room(self.ceiling, there))
        found = self.bag.take(None, jobs)
        self._waiting += len(found)
        self._reached = max(self._reached, there + len(found))
        return found

    def _delay(self) -> float:
        return control.delay(self.pace.period, self._submission, self.pace.start_delay)


class Original(Sender):
    """One campaign at a time: the first that is not closed; one that was closed lately stops all behind it."""

    name = "the original's rule"
    period = 15.0

    def __init__(self, *arguments: object) -> None:
        self._rule = tap.TapRule()
        self._taps: dict[int, tap.Tap] = {}
        self._stressed = False
        super().__init__(*arguments)  # type: ignore[arg-type]

    def count(self) -> None:
        super().count()
        self._stressed = self.load is not None and self.load() >= 1.0

    def look(self, elapsed: float) -> None:
        waiting = Counter(job.campaign for job in self.oar.waiting)
        waiting.update(job.campaign for job in self.oar.taken if job.start > self.world.now)
        for number in {*self.bag.waiting(), *self._taps}:
            mine = self._taps.get(number, tap.Tap(self._rule.first))
            self._taps[number] = tap.look(mine, self._rule, waiting=waiting[number], now=self.world.now)

    def take(self) -> list[Job]:
        for number in self.bag.waiting():
            mine = self._taps[number]
            if mine.closed_at is not None and self.world.now - mine.closed_at < self._rule.grace:
                return []
            if mine.left and not self._stressed:
                found = self.bag.take(number, mine.left)
                self._taps[number] = tap.used(mine, len(found))
                return found
        return []
