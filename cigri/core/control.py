"""How many more jobs a cluster should be sent now: its free resources, and a short queue to refill what frees up."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_QUEUE = 2
HORIZON = 10.0  # seconds until a job that is ordered now can start: our rounds and the cluster's


@dataclass(frozen=True, slots=True)
class Load:
    """A cluster as the grid sees it. Counts are jobs of ours, but for `free` (None: resources never counted).

    free: jobs that its free resources had room for when they were last counted; running_then: jobs of ours that
    ran at that moment. rate: jobs of ours that end there per second.
    """

    live: int
    running: int
    free: int | None
    running_then: int
    rate: float


def queue_reference(load: Load, max_waiting: int) -> int:
    """How many jobs of ours should wait in the cluster's queue: as many as will end before the next can be sent."""
    return min(max_waiting, max(LEAST_QUEUE, math.ceil(load.rate * HORIZON)))


def order(load: Load, max_waiting: int) -> int:
    """How many jobs to send now; `max_waiting` bounds what waits there beyond the free resources."""
    waiting = load.live - load.running
    reference = queue_reference(load, max_waiting)
    if load.free is None:
        return max(0, reference - waiting)
    room = load.free + load.running_then - load.live
    return max(0, min(room + reference, load.free + max_waiting - waiting))
