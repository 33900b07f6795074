"""A cluster under OAR in virtual time: scheduling rounds, a launcher, owners who take cores and leave them.

OAR schedules when a job ends or comes in, but not sooner than so many seconds after the round before, and every minute
if nothing happens. OAR 2.5 leaves 5 s between two rounds, OAR3 1 s; OAR3 does not schedule upon what comes through its
API. What a round does is simple here: jobs of the grid are best-effort, of one core, first come, first served; cores
that owners take are emptied, the newest job first. Owners do not notice the grid: preempting takes no time.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


class World:
    """Virtual time: what is to happen, in order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._line: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._line, (max(time, self.now), next(self._numbers), action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.at(self.now + seconds, action)

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        while self._line and self._line[0][0] <= until and not done():
            self.now, _, action = heapq.heappop(self._line)
            action()
        if not done():
            self.now = until


@dataclass(slots=True, eq=False)
class Job:
    campaign: int
    length: float
    sent: float = 0.0
    start: float = math.inf
    end: float = math.inf


@dataclass(frozen=True, slots=True)
class Rounds:
    """When OAR schedules, and how quickly it starts jobs."""

    spacing: float = 5.0
    longest: float = 60.0
    on_submission: bool = True
    starts: float = 20.0  # per second


OAR2 = Rounds()
OAR3 = Rounds(spacing=1.0, on_submission=False)


@dataclass(slots=True)
class Sums:
    """Core-seconds, but for `queue`: job-seconds. unused: free after a round, and until the next."""

    time: float = 0.0
    left: float = 0.0  # by owners
    busy: float = 0.0
    unused: float = 0.0
    queue: float = 0.0
    done: float = 0.0  # by jobs that came to their end
    wasted: float = 0.0  # by jobs that were preempted
    ended: int = 0
    rounds: int = 0

    def since(self, before: Sums) -> Sums:
        return Sums(*(getattr(self, name) - getattr(before, name) for name in Sums.__slots__))

    def copy(self) -> Sums:
        return self.since(Sums())

    @property
    def use(self) -> float:
        """Of what was free when a round could give it."""
        return self.busy / (self.busy + self.unused)

    @property
    def queue_in_rounds(self) -> float:
        """The mean queue over the jobs that end from one of the cluster's rounds to the next."""
        return self.queue / self.time / (self.ended / self.rounds)


@dataclass
class Oar:
    """The cluster. `owners`: (time, cores that they leave), in order. `changed` is called when jobs start or end."""

    world: World
    rounds: Rounds
    owners: Sequence[tuple[float, int]]
    changed: Callable[[], None] = lambda: None
    cores: int = 0
    waiting: deque[Job] = field(default_factory=deque)
    taken: list[Job] = field(default_factory=list)  # they have a core, by the time at which they got it
    running: int = 0
    sums: Sums = field(default_factory=Sums)
    ended: list[Job] = field(default_factory=list)  # until somebody takes them away
    preempted: list[Job] = field(default_factory=list)
    started: list[Job] = field(default_factory=list)
    _gone: int = 0  # of `taken`: those that have ended
    _left_free: int = 0
    _last_round: float = -math.inf
    _next_round: float = math.inf
    _launcher: float = 0.0
    _seen: float = 0.0

    def __post_init__(self) -> None:
        for time, cores in self.owners:
            self.world.at(time, lambda cores=cores: self._own(cores))  # type: ignore[misc]

    @property
    def starting(self) -> int:
        """Jobs that have a core and do not run yet."""
        return len(self.taken) - self._gone - self.running

    @property
    def free(self) -> int:
        return max(0, self.cores - len(self.taken) + self._gone)

    def submit(self, jobs: Sequence[Job]) -> None:
        self.add_up()
        self.waiting.extend(jobs)
        self._want(0.0 if self.rounds.on_submission else self.rounds.longest)

    def add_up(self) -> None:
        """Bring the sums to the present."""
        seconds, self._seen = self.world.now - self._seen, self.world.now
        self.sums.time += seconds
        self.sums.left += seconds * self.cores
        self.sums.busy += seconds * self.running
        self.sums.unused += seconds * self._left_free
        self.sums.queue += seconds * len(self.waiting)

    def _own(self, cores: int) -> None:
        self.add_up()
        self.cores = cores
        self._left_free = min(self._left_free, self.free)
        self._preempt()
        self._want(0.0)

    def _want(self, within: float) -> None:
        """A round is due, not sooner than the rounds' spacing after the last."""
        due = max(self.world.now, min(self._last_round + self.rounds.longest, self.world.now + within))
        due = max(due, self._last_round + self.rounds.spacing)
        if due < self._next_round:
            self._next_round = due
            self.world.at(due, lambda: self._round(due))

    def _round(self, due: float) -> None:
        if due != self._next_round:
            return  # another was sooner
        self.add_up()
        self._last_round, self._next_round = self.world.now, math.inf
        self.sums.rounds += 1
        self._launcher = max(self._launcher, self.world.now)
        self.taken = [job for job in self.taken if job.end > self.world.now]
        self._gone = 0
        for _ in range(min(self.free, len(self.waiting))):
            job = self.waiting.popleft()
            self._launcher += 1 / self.rounds.starts
            job.start, job.end = self._launcher, self._launcher + job.length
            self.taken.append(job)
            self.world.at(job.start, lambda job=job: self._start(job))  # type: ignore[misc]
        self._left_free = self.free
        self._want(self.rounds.longest)

    def _start(self, job: Job) -> None:
        if job.end < math.inf:
            self.add_up()
            self.running += 1
            self.started.append(job)
            self.world.at(job.end, lambda: self._end(job))
            self.changed()

    def _end(self, job: Job) -> None:
        if job.end < math.inf:
            self.add_up()
            self.running -= 1
            self._gone += 1
            self.ended.append(job)
            self.sums.ended += 1
            self.sums.done += job.length
            self._want(0.0)
            self.changed()

    def _preempt(self) -> None:
        self.taken = [job for job in self.taken if job.end > self.world.now]
        self._gone = 0
        while len(self.taken) > self.cores:
            job = self.taken.pop()
            if job.start <= self.world.now:
                self.running -= 1
                self.sums.wasted += self.world.now - job.start
            job.end = math.inf
            self.preempted.append(job)
        self.changed()
