"""The rules that share a grid in grid_model: ours, and the original's as it is described by those who ran it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass

from grid_model import STEP, Campaign, Cluster, Grid

from cigri.core.control import Limits, Load, order
from cigri.core.ledger import Charge, Ledger, charged, guess
from cigri.core.scheduling import Backlog, Others, share

MAX_WAITING = 100
HALF_LIFE = 604800.0


class FairQueuing:
    """The metascheduler's rule, by the same functions."""

    name = "fair queuing"

    def __init__(self) -> None:
        self._ledgers: dict[int, Ledger] = defaultdict(Ledger)
        self._ended: Counter[tuple[int, int]] = Counter()
        self._used: dict[tuple[int, int], float] = defaultdict(float)
        self._rates: dict[int, float] = defaultdict(float)

    def ended(self, cluster: Cluster, campaign: Campaign, seconds: float, *, preempted: bool) -> None:
        used = charged(seconds, preempted=preempted, preempted_charge=1.0)
        self._ended[cluster.id, campaign.id] += 1
        self._used[cluster.id, campaign.id] += used
        self._ledgers[cluster.id].charge(Charge(campaign.id, campaign.user, used))

    def step(self, grid: Grid) -> dict[int, list[tuple[int, int]]]:
        taken: Counter[int] = Counter()
        sent = {}
        for cluster in grid.clusters.values():
            weight = 1 - math.exp(-STEP / 20.0)
            self._rates[cluster.id] += weight * (cluster.ended / STEP - self._rates[cluster.id])
            for account in self._ledgers[cluster.id].users.values():
                account.recent *= 2 ** (-STEP / HALF_LIFE)
            running, waiting = len(cluster.running), len(cluster.waiting)
            free, rate = grid.free[cluster.id], self._rates[cluster.id]
            jobs = order(Load(running + waiting, running, free, running, rate, waiting, STEP), Limits(MAX_WAITING))
            if not jobs:
                continue
            dealt = self._deal(grid, cluster, jobs, taken)
            for campaign_id, tasks in dealt:
                taken[campaign_id] += tasks
            sent[cluster.id] = dealt
        return sent

    def _deal(self, grid: Grid, cluster: Cluster, jobs: int, taken: Counter[int]) -> list[tuple[int, int]]:
        backlogs = []
        reserved: dict[str, float] = defaultdict(float)
        spent_of: dict[str, float] = defaultdict(float)
        live = 0
        spent: Counter[int] = Counter()
        for _, number, start in cluster.running:
            spent[number] += grid.now - start
        for each in grid.present.values():
            key = cluster.id, each.id
            one = guess(self._ended[key], self._used[key], each.walltime)
            left = each.pending - taken[each.id]
            if left > 0 and cluster.id in each.clusters:
                flying = each.flying[cluster.id]
                backlogs.append(
                    Backlog(each.id, each.user, left, flying, guess=one, longest=each.walltime, spent=spent[each.id])
                )
            elif each.flying[cluster.id]:
                reserved[each.user] += max(one * each.flying[cluster.id], spent[each.id])
                spent_of[each.user] += spent[each.id]
                live += each.flying[cluster.id]
        grants = share(self._ledgers[cluster.id], backlogs, jobs, Others(reserved, live, spent=spent_of))
        return [(grant.campaign_id, grant.tasks) for grant in grants]


@dataclass(slots=True)
class Tap:
    """Of a campaign on a cluster: how many jobs one submission may have, and since when none may be sent."""

    rate: float = 3.0
    closed_at: float | None = None


class Original:
    """Per cluster the oldest campaign first; a tap that grows with each submission and closes when one job waits."""

    name = "the original's rule"
    FIRST, GROWTH, MOST, GRACE = 3.0, 1.5, 100.0, 60.0

    def __init__(self) -> None:
        self._taps: dict[tuple[int, int], Tap] = defaultdict(Tap)
        self._queued: dict[int, Counter[int]] = defaultdict(Counter)  # cluster -> campaign -> tasks set aside for it

    def ended(self, cluster: Cluster, campaign: Campaign, seconds: float, *, preempted: bool) -> None:
        """It does not count what was used."""

    def step(self, grid: Grid) -> dict[int, list[tuple[int, int]]]:
        self._pass(grid)
        sent = {}
        for cluster in grid.clusters.values():
            self._look(cluster, grid)
            found = self._submit(cluster, grid.now)
            if found is not None:
                sent[cluster.id] = [found]
        return sent

    def _pass(self, grid: Grid) -> None:
        """Set tasks aside for clusters, which take one in turn, each of the first campaign that may have more there."""
        free = {
            number: campaign.pending - sum(self._queued[each][number] for each in campaign.clusters)
            for number, campaign in grid.present.items()
        }
        room = {
            (cluster, number): min(500, int(self._taps[cluster, number].rate * 10) - self._queued[cluster][number])
            for number, campaign in grid.present.items()
            for cluster in campaign.clusters
        }
        lines = {
            cluster: [number for number in sorted(grid.present) if room.get((cluster, number), 0) > 0]
            for cluster in grid.clusters
        }
        while any(lines.values()):
            for cluster, line in lines.items():
                while line and (free[line[0]] <= 0 or room[cluster, line[0]] <= 0):
                    line.pop(0)
                if line:
                    self._queued[cluster][line[0]] += 1
                    free[line[0]] -= 1
                    room[cluster, line[0]] -= 1

    def _look(self, cluster: Cluster, grid: Grid) -> None:
        """Close the taps of those who have a job waiting; open the others, smaller if they were closed for long."""
        waiting = set(cluster.waiting)
        for number in grid.present:
            tap = self._taps[cluster.id, number]
            if number in waiting:
                tap.closed_at = grid.now
            elif tap.closed_at is not None:
                if grid.now - tap.closed_at >= self.GRACE:
                    tap.rate = max(self.FIRST, tap.rate / self.GROWTH)
                tap.closed_at = None

    def _submit(self, cluster: Cluster, now: float) -> tuple[int, int] | None:
        queue = self._queued[cluster.id]
        for number in sorted(queue):
            if not queue[number]:
                continue
            tap = self._taps[cluster.id, number]
            if tap.closed_at is not None:
                if now - tap.closed_at < self.GRACE:
                    return None
                continue
            tasks = min(int(tap.rate), queue[number])
            queue[number] -= tasks
            if tap.rate < tasks * self.GROWTH + 1:
                tap.rate = min(self.MOST, tap.rate * self.GROWTH)
            return number, tasks
        return None
