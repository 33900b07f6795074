"""A grid in virtual time: clusters whose owners take and leave cores, users with campaigns, a rule that shares.

The rule alone differs from run to run (see rules.py); load, lengths and owners are the same for the same seed.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Protocol

from gaps import Gaps

STEP = 15.0  # seconds between two looks at a cluster: the original's; the cluster starts jobs as often
WINDOW = 7200.0  # seconds over which shares are compared
DAY = 86400.0


@dataclass(slots=True)
class Campaign:
    id: int
    user: str
    arrival: float
    tasks: int
    length: float  # seconds, the mean of its tasks on a cluster of power 1
    spread: float
    walltime: float
    clusters: tuple[int, ...]
    pending: int = 0
    flying: Counter[int] = field(default_factory=Counter)  # jobs by cluster
    done: int = 0
    finished: float = math.inf


@dataclass(slots=True)
class Cluster:
    id: int
    slots: int
    power: float
    waiting: deque[int] = field(default_factory=deque)  # campaigns whose jobs wait, in order
    running: list[tuple[float, int, float]] = field(default_factory=list)  # heap: end, campaign, start
    ended: int = 0  # jobs that ended in the last step

    def capacity(self, now: float, chance: random.Random) -> int:
        """What its owners leave: less by day, and never the same."""
        by_day = 0.5 + 0.5 * math.cos(2 * math.pi * (now / DAY + self.id / 16))
        return max(1, round(self.slots * min(1.0, 0.45 + 0.5 * by_day + chance.uniform(-0.05, 0.05))))


class Rule(Protocol):
    """Who gets jobs: told what ends, asked in each step for each cluster."""

    name: str

    def step(self, grid: Grid) -> dict[int, list[tuple[int, int]]]:
        """What is sent now: cluster -> (campaign, tasks) in order."""

    def ended(self, cluster: Cluster, campaign: Campaign, seconds: float, *, preempted: bool) -> None:
        """A job has ended."""


@dataclass(slots=True)
class Figures:
    """What is measured of one run."""

    jain: list[tuple[float, float]] = field(default_factory=list)  # (time, mean over the clusters)
    use: list[tuple[float, float]] = field(default_factory=list)
    gap: float = 0.0  # longest time that a campaign had nothing in flight, in units of the bound
    passed: int = 0  # most dispatches of others on a cluster until the next of a campaign that waits there
    passed_part: float = 0.0  # the most in units of bound 3
    stretch: list[float] = field(default_factory=list)
    jobs: int = 0


class Grid:
    """One run."""

    def __init__(self, clusters: list[Cluster], campaigns: list[Campaign], rule: Rule, seed: int) -> None:
        self.clusters = {cluster.id: cluster for cluster in clusters}
        self.campaigns = {campaign.id: campaign for campaign in campaigns}
        self.rule = rule
        self.now = 0.0
        self.present: dict[int, Campaign] = {}
        self.free: dict[int, int] = {}
        self.figures = Figures()
        self._coming = deque(sorted(campaigns, key=lambda campaign: campaign.arrival))
        self._lengths = random.Random(seed)  # noqa: S311 - a simulation
        self._owners = random.Random(seed + 1)  # noqa: S311
        self._capacity: dict[int, int] = {}
        # (cluster, campaign) with nothing there: since when, and how long until all jobs there now have ended
        self._without: dict[tuple[int, int], tuple[float, float]] = {}
        self._gaps = {
            number: Gaps({each.id: each for each in campaigns if number in each.clusters}) for number in self.clusters
        }
        self._running: Counter[tuple[int, str]] = Counter()  # (cluster, user) -> jobs
        self._served: Counter[tuple[int, str]] = Counter()  # (cluster, user) -> jobs x steps in this window
        self._steady: dict[int, set[str]] = {}  # cluster -> users who waited all the window
        self._busy = self._offered = 0.0

    def run(self, most_days: float) -> Figures:
        """Until all campaigns have finished."""
        window = WINDOW
        self._open_window()
        while (self._coming or self.present) and self.now < most_days * DAY:
            self._step()
            self.now += STEP
            if self.now >= window:
                self._close_window()
                window += WINDOW
        for campaign in self.campaigns.values():
            ended = min(campaign.finished, self.now)
            self.figures.stretch.append(max(1.0, (ended - campaign.arrival) / self._alone(campaign)))
            self._leave(campaign)
        self.figures.passed = max(gaps.longest for gaps in self._gaps.values())
        self.figures.passed_part = max(gaps.of_bound for gaps in self._gaps.values())
        return self.figures

    def backlog(self, cluster: Cluster) -> list[Campaign]:
        """The campaigns with tasks left for the cluster."""
        return [each for each in self.present.values() if each.pending and cluster.id in each.clusters]

    def _step(self) -> None:
        while self._coming and self._coming[0].arrival <= self.now:
            campaign = self._coming.popleft()
            campaign.pending = campaign.tasks
            self.present[campaign.id] = campaign
        for cluster in self.clusters.values():
            self._end(cluster)
            self._owners_turn(cluster)
            self._start(cluster)
            self.free[cluster.id] = self._capacity[cluster.id] - len(cluster.running)
        self._watch()
        for cluster_id, grants in self.rule.step(self).items():
            for campaign_id, tasks in grants:
                self._send(self.clusters[cluster_id], self.campaigns[campaign_id], tasks)
        for cluster in self.clusters.values():
            self._start(cluster)
            self._busy += len(cluster.running) * STEP
            if self.backlog(cluster) or cluster.waiting:
                self._offered += self._capacity[cluster.id] * STEP
            else:
                self._offered += len(cluster.running) * STEP

    def _end(self, cluster: Cluster) -> None:
        cluster.ended = 0
        while cluster.running and cluster.running[0][0] <= self.now:
            end, number, start = heapq.heappop(cluster.running)
            campaign = self.campaigns[number]
            campaign.flying[cluster.id] -= 1
            campaign.done += 1
            cluster.ended += 1
            self.figures.jobs += 1
            self._count(cluster, campaign, end - start, preempted=False)
            if campaign.done == campaign.tasks:
                campaign.finished = end
                del self.present[number]

    def _owners_turn(self, cluster: Cluster) -> None:
        """Every ten minutes its owners take cores or leave some; what runs there is preempted, the newest first."""
        if cluster.id not in self._capacity or self.now % 600.0 < STEP:
            self._capacity[cluster.id] = cluster.capacity(self.now, self._owners)
        surplus = len(cluster.running) - self._capacity[cluster.id]
        if surplus <= 0:
            return
        cluster.running.sort(key=lambda job: job[2])
        for _, number, start in cluster.running[-surplus:]:
            campaign = self.campaigns[number]
            campaign.flying[cluster.id] -= 1
            campaign.pending += 1
            self._count(cluster, campaign, self.now - start, preempted=True)
        del cluster.running[-surplus:]
        heapq.heapify(cluster.running)

    def _count(self, cluster: Cluster, campaign: Campaign, seconds: float, *, preempted: bool) -> None:
        self._running[cluster.id, campaign.user] -= 1
        self.rule.ended(cluster, campaign, seconds, preempted=preempted)

    def _start(self, cluster: Cluster) -> None:
        while cluster.waiting and len(cluster.running) < self._capacity[cluster.id]:
            campaign = self.campaigns[cluster.waiting.popleft()]
            lasts = campaign.length * self._lengths.lognormvariate(-(campaign.spread**2) / 2, campaign.spread)
            lasts = min(campaign.walltime, max(1.0, lasts / cluster.power))
            heapq.heappush(cluster.running, (self.now + lasts, campaign.id, self.now))
            self._running[cluster.id, campaign.user] += 1

    def _send(self, cluster: Cluster, campaign: Campaign, tasks: int) -> None:
        assert 0 < tasks <= campaign.pending, (self.rule.name, tasks, campaign.pending)
        self._without.pop((cluster.id, campaign.id), None)
        campaign.pending -= tasks
        campaign.flying[cluster.id] += tasks
        cluster.waiting.extend([campaign.id] * tasks)
        self._gaps[cluster.id].sent(campaign.id, tasks, len(cluster.running) + len(cluster.waiting))
        if not campaign.pending:
            self._leave(campaign)

    def _leave(self, campaign: Campaign) -> None:
        for each in campaign.clusters:
            self._gaps[each].left(campaign.id)

    def _watch(self) -> None:
        """See who has nothing in flight while there is a slot for each (bound 4)."""
        for cluster in self.clusters.values():
            waiting = self.backlog(cluster)
            flying = len(cluster.running) + len(cluster.waiting)
            others = flying - sum(each.flying[cluster.id] for each in waiting)
            roomy = self._capacity[cluster.id] - others >= len(waiting)
            without = {(cluster.id, each.id) for each in waiting if roomy and not each.flying[cluster.id]}
            for each in waiting:
                self._gaps[cluster.id].waits(each.id)
            for key in [key for key in self._without if key[0] == cluster.id and key not in without]:
                del self._without[key]
            last = max((end for end, _, _ in cluster.running), default=self.now)
            for key in without:
                since, bound = self._without.setdefault(key, (self.now, last - self.now + 2 * STEP))
                self.figures.gap = max(self.figures.gap, (self.now - since) / bound)
            self._steady[cluster.id] &= {campaign.user for campaign in waiting}
        self._served.update(self._running)

    def _open_window(self) -> None:
        self._served.clear()
        users = {campaign.user for campaign in self.campaigns.values()}
        self._steady = {cluster_id: set(users) for cluster_id in self.clusters}
        self._busy = self._offered = 0.0

    def _close_window(self) -> None:
        fair = []
        for cluster in self.clusters.values():
            got = [float(self._served[cluster.id, user]) for user in sorted(self._steady[cluster.id])]
            if len(got) > 1 and sum(got) > 0:
                fair.append(jain(got))
        if fair:
            self.figures.jain.append((self.now, sum(fair) / len(fair)))
        if self._offered:
            self.figures.use.append((self.now, self._busy / self._offered))
        self._open_window()

    def _alone(self, campaign: Campaign) -> float:
        """How long it would take with all that its clusters leave on average to itself."""
        speed = sum(0.7 * self.clusters[each].slots * self.clusters[each].power for each in campaign.clusters)
        fastest = max(self.clusters[each].power for each in campaign.clusters)
        return max(campaign.length / fastest, campaign.tasks * campaign.length / speed)


def jain(got: list[float]) -> float:
    """1 when all got the same, 1/n when one got all."""
    return sum(got) ** 2 / (len(got) * sum(each * each for each in got))


def load(seed: int, days: float, users: int = 20, campaigns: int = 50) -> tuple[list[Cluster], list[Campaign]]:
    """Eight clusters, and campaigns that keep them more than busy for so many days."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    sizes = ((16, 0.6), (24, 1.0), (32, 0.8), (48, 1.0), (64, 1.2), (96, 1.0), (128, 1.4), (192, 2.0))
    clusters = [Cluster(number, slots, power) for number, (slots, power) in enumerate(sizes, 1)]
    speed = sum(0.7 * slots * power for slots, power in sizes)
    parts = [chance.lognormvariate(0, 1.2) for _ in range(campaigns)]
    found = []
    for number, part in enumerate(parts, 1):
        length = min(7200.0, max(20.0, chance.lognormvariate(math.log(500), 1.0)))
        work = speed * days * DAY * part / sum(parts)
        where = tuple(sorted(chance.sample(range(1, 9), chance.randint(4, 8))))
        user = f"user{chance.randint(1, users):02}" if number > users else f"user{number:02}"
        arrival = chance.uniform(0, 0.6 * days * DAY)
        tasks = max(10, round(work / length))
        found.append(Campaign(number, user, arrival, tasks, length, 0.5, max(900.0, 6 * length), where))
    found.sort(key=lambda campaign: campaign.arrival)
    for number, campaign in enumerate(found, 1):
        campaign.id = number
    return clusters, found
