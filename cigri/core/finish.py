"""The end of a campaign: its last tasks go where they are expected to end first."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cigri.core.outcome import Outcome
from cigri.core.scheduling import Backlog

ELSEWHERE = 120.0  # seconds for which a task that failed on a cluster is left to the others that its campaign may use
FAILINGS = frozenset({Outcome.WALLTIME, Outcome.EXIT, Outcome.SITE, Outcome.DIRECTORY})  # another cluster may do better
NEAR = 4  # a campaign is near its end when no more tasks are left than so many on each slot that it has or may get


@dataclass(frozen=True, slots=True)
class Speed:
    """What is known of a campaign's tasks on a cluster: how many succeeded, their seconds, the power of the cluster.

    elsewhere: how many of the pending ones are left to other clusters now.
    """

    done: int
    seconds: float
    power: float
    elsewhere: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster that may take some of the last tasks: how long one lasts there, what runs there, what could be sent.

    pending: how many of the tasks may go there.
    """

    cluster_id: int
    lasts: float
    live: int
    places: int
    pending: int

    def until(self, moment: float) -> int:
        """How many tasks it can have ended by then: those sent now, and those that follow on the same slots."""
        slots = self.live + self.places
        return min(self.pending, self.places + int(slots * max(0.0, moment - self.lasts) / self.lasts))


def durations(speeds: Mapping[int, Speed]) -> dict[int, float]:
    """How long a task is expected to last on each cluster; nothing while none has succeeded anywhere.

    Where none has, it is what the others say, by the clusters' powers.
    """
    known = {cluster_id: max(1.0, speed.seconds / speed.done) for cluster_id, speed in speeds.items() if speed.done}
    if not known:
        return {}
    done = sum(speeds[cluster_id].done for cluster_id in known)
    work = sum(seconds * speeds[each].power * speeds[each].done for each, seconds in known.items()) / done
    return {each: known.get(each, max(1.0, work / speed.power)) for each, speed in speeds.items()}


def rooms(pending: int, places: Sequence[Place]) -> dict[int, int]:
    """How many of the pending tasks each cluster should take at most: those that no quicker one ends before it would.

    The quickest may always take them all.
    """
    return {place.cluster_id: max(0, pending - _by_others(place, places)) for place in places}


def _by_others(place: Place, places: Iterable[Place]) -> int:
    return sum(other.until(place.lasts) for other in places if other.lasts < place.lasts)


Live = Mapping[int, Mapping[int, int]]  # cluster -> campaign -> jobs in flight, on clusters that may get jobs
Backlogs = Mapping[int, Sequence[Backlog]]  # of the clusters that can take jobs


def near_end(backlogs: Backlogs, orders: Mapping[int, int], live: Live) -> set[int]:
    """The campaigns of which few tasks are left, and that have more than one cluster to send them to."""
    left: dict[int, int] = {}
    slots: dict[int, int] = defaultdict(int)
    where: dict[int, set[int]] = defaultdict(set)
    for cluster_id, there in backlogs.items():
        for backlog in there:
            left[backlog.campaign_id] = max(left.get(backlog.campaign_id, 0), backlog.pending)
            slots[backlog.campaign_id] += min(backlog.room, fair_part(orders[cluster_id], there))
            where[backlog.campaign_id].add(cluster_id)
    for cluster_id, jobs in live.items():
        for campaign_id, count in jobs.items():
            slots[campaign_id] += count
            where[campaign_id].add(cluster_id)
    return {each for each, tasks in left.items() if 0 < tasks <= NEAR * slots[each] and len(where[each]) > 1}


def limited(
    backlogs: Backlogs, orders: Mapping[int, int], live: Live, speeds: Mapping[int, Mapping[int, Speed]]
) -> dict[int, list[Backlog]]:
    """The backlogs; of campaigns near their end (the keys of `speeds`) only what each cluster should take."""
    room: dict[tuple[int, int], int] = {}
    for campaign_id, known in speeds.items():
        mine = {
            cluster_id: backlog
            for cluster_id, there in backlogs.items()
            for backlog in there
            if backlog.campaign_id == campaign_id
        }
        left = max((each.pending + known[cluster_id].elsewhere for cluster_id, each in mine.items()), default=0)
        places = [
            Place(
                cluster_id,
                lasts,
                live.get(cluster_id, {}).get(campaign_id, 0),
                min(mine[cluster_id].room, fair_part(orders[cluster_id], backlogs[cluster_id]))
                if cluster_id in mine
                else 0,
                max(0, left - known[cluster_id].elsewhere),
            )
            for cluster_id, lasts in durations(known).items()
            if cluster_id in mine or live.get(cluster_id, {}).get(campaign_id)
        ]
        for cluster_id, tasks in rooms(left, places).items():
            room[cluster_id, campaign_id] = tasks
    return {
        cluster_id: [
            dataclasses.replace(each, pending=min(each.pending, room.get((cluster_id, each.campaign_id), each.pending)))
            for each in there
        ]
        for cluster_id, there in backlogs.items()
    }


def fair_part(jobs: int, there: Sequence[Backlog]) -> int:
    """What one of those who wait can count on of the jobs that a cluster can take."""
    return -(-jobs // max(1, len(there)))


def elsewhere(outcome: Outcome, *, others: bool) -> float:
    """For how many seconds a task that ended so is left to other clusters, if its campaign has any."""
    return ELSEWHERE if others and outcome in FAILINGS else 0.0
