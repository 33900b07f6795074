"""How many more jobs a cluster should be sent now: its free resources, and a short queue to refill what frees up.

docs/control.md has the equations, their units, why they are stable, and how to tune.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEAST_QUEUE = 2
FEW = 10  # jobs in flight of a choosy campaign of which none runs
SAFE_QUEUE = 2  # jobs that wait, while nobody knows how many resources are free
STALE = 60.0  # seconds after which a count of resources is not believed any more
LONGEST_DELAY = 120.0  # seconds that the loop is believed to take at most
LONGEST_WAIT = 30.0  # seconds that a cluster is believed to take at most, on average, to start a job
LEARNING = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """A cluster as the grid sees it. Counts are jobs of ours, but for `free` (None: not counted lately).

    live: all that have not ended; waiting: those that its queue shows, or that were just sent there. free: jobs that
    its free resources had room for when they were last counted; running_then: jobs of ours that ran at that
    moment. rate: jobs of ours that end there per second. delay: seconds from the end of a job until another one that
    is ordered then can start. queued: those of the waiting that were seen in its queue.

    extra: places of the usual size that those that wait need beyond one each. aside: how many of those that wait do not
    wait for what is free: they are too large for it, may not run everywhere, or would have started long ago. choosy:
    no job of ours may run everywhere there.
    """

    live: int
    running: int
    free: int | None
    running_then: int
    rate: float
    waiting: int = 0
    delay: float = 10.0
    queued: int = 0
    extra: int = 0
    aside: int = 0
    choosy: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What the administrator allows; None: no limit. `max_waiting`: jobs beyond the free resources."""

    max_waiting: int
    max_jobs: int | None = None
    max_per_minute: int | None = None


def delay(follow_period: float, submission: float, start_delay: float) -> float:
    """The delay of the loop: an end is seen, a job is sent, and the cluster starts it."""
    return min(LONGEST_DELAY, max(0.0, follow_period) + max(0.0, submission) + max(0.0, start_delay))


def unqueued(starts: Sequence[tuple[float, float]], waiting: Iterable[float], before: float) -> list[float]:
    """The waits of those jobs (sent, started) that found none of ours in the queue when they were sent.

    `waiting`: when those were sent that still wait; `before`: when the last of those started that were seen earlier.
    How long a job waits behind others of ours says nothing about the cluster: learnt from, it would make the queue
    longer, and the waits with it.
    """
    oldest = min(waiting, default=math.inf)
    first: dict[float, float] = {}
    for sent, start in starts:
        first[sent] = min(first.get(sent, start), start)
    found = []
    for sent in sorted(first):
        ahead = max((start for other, start in starts if other < sent), default=before)
        if max(ahead, before) <= sent < oldest:
            found.append(max(0.0, first[sent] - sent))
    return found


def start_delay(known: float, waits: Iterable[float]) -> float:
    """How long the cluster takes to start jobs: twice the mean wait, since they come at any moment between its rounds.

    A wait for resources that are all taken is cut: it says nothing about rounds.
    """
    for wait in waits:
        known += LEARNING * (2 * min(wait, LONGEST_WAIT) - known)
    return known


def most_in_flight(running: int, ended: float = 0.0) -> int:
    """How many jobs of a choosy campaign may be in flight: what is free may not be good for them, what starts is.

    So their number doubles with each round of the cluster, as long as they start. `ended`: how many end in the delay of
    the loop, which may all have started and ended between two looks.
    """
    return FEW + 2 * (running + math.ceil(ended))


def slots(load: Load) -> int:
    """How many jobs of ours the cluster has, or has room for."""
    return max(load.live, load.live + SAFE_QUEUE if load.free is None else load.free + load.running_then)


def queue_reference(load: Load, max_waiting: int) -> int:
    """How many jobs of ours should wait in the cluster's queue: as many as will end before the next can start."""
    return min(max_waiting, max(LEAST_QUEUE, math.ceil(load.rate * load.delay)))


def order(load: Load, limits: Limits, sent_lately: int = 0) -> int:
    """How many jobs to send now; `sent_lately` in the last minute."""
    return within(_wanted(load, limits.max_waiting), load, limits, sent_lately)


def within(jobs: int, load: Load, limits: Limits, sent_lately: int) -> int:
    """So many jobs, or what the administrator's limits leave of them."""
    if limits.max_jobs is not None:
        jobs = min(jobs, limits.max_jobs - load.live)
    if limits.max_per_minute is not None:
        jobs = min(jobs, limits.max_per_minute - sent_lately)
    return max(0, jobs)


def _wanted(load: Load, max_waiting: int) -> int:
    if load.free is None:
        return min(max_waiting, SAFE_QUEUE) - load.waiting
    ours = load.free + load.running_then  # slots that the grid's jobs have or can have
    queue = queue_reference(load, max_waiting)
    # What waits aside is part of the queue, and keeps nobody from what is free.
    there = load.running + load.waiting + load.extra - load.aside + min(load.aside, queue)
    wanted = min(ours + queue - there, load.free + max_waiting - load.waiting)
    if load.choosy:
        return min(wanted, most_in_flight(load.running, load.rate * load.delay) - load.running - load.waiting)
    return wanted
