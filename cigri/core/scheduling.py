"""Who gets the jobs that a cluster can take: start-time fair queuing among users, and among the campaigns of each.

Time is virtual: core-seconds over a weight. Whoever is behind comes next; what its jobs will use counts as soon as
they are sent, and is put right when they end. docs/scheduling.md has the rule, its bounds and why they hold.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cigri.core.ledger import Ledger, retire, use_factors
from cigri.core.level import Level

AHEAD_SHARE = 8  # of so many slots one is for what goes ahead of its turn: test mode, prologues, epilogues


@dataclass(frozen=True, slots=True)
class Backlog:
    """A campaign that has tasks left for a cluster. Amounts are core-seconds."""

    campaign_id: int
    user: str
    pending: int
    live: int  # its jobs on this cluster
    max_jobs: int | None = None
    urgent: bool = False  # in test mode: ahead of others
    weight: float = 1.0  # of the user, the same in all campaigns of a user
    share: float = 1.0  # of the campaign among its user's
    guess: float = 1.0  # what one job of it is expected to be charged
    longest: float = 1.0  # the most that one job of it is charged
    spent: float = 0.0  # what its running jobs have used so far
    places: float = 1.0  # that one job of it takes, 1 or more

    @property
    def room(self) -> int:
        """How many tasks it could use now."""
        return self.pending if self.max_jobs is None else max(0, min(self.pending, self.max_jobs - self.live))

    @property
    def reserved(self) -> float:
        """What its jobs in flight will be charged."""
        return max(self.live * self.guess, self.spent)


@dataclass(frozen=True, slots=True)
class Grant:
    """How many tasks of a campaign the cluster may take now; who is first in turn is submitted first."""

    campaign_id: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Others:
    """Jobs in flight of campaigns that can use no more places: how many, and core-seconds by user.

    reserved: what they will be charged; spent: what they have used so far. ahead: jobs in flight, of all campaigns,
    that went ahead of their turn.
    """

    reserved: Mapping[str, float] = field(default_factory=dict)
    live: int = 0
    ahead: int = 0
    spent: Mapping[str, float] = field(default_factory=dict)


def share(ledger: Ledger, backlogs: Sequence[Backlog], jobs: int, others: Others | None = None) -> list[Grant]:
    """Deal out places for so many jobs of the usual size; the grants come in their order of use.

    Brings the ledger to the present.

    First, within a bounded share, who goes ahead; then, while there is a slot for each campaign, who has nothing
    there; then who is behind.
    """
    others = others or Others()
    hungry = [backlog for backlog in backlogs if backlog.room > 0]
    deal = _Deal(ledger, hungry, jobs, others)
    deal.once(_ahead(backlogs, others, deal))
    if deal.slots >= len(hungry):
        deal.once(backlog for backlog in hungry if not deal.live[backlog.campaign_id])
    deal.in_turn(hungry)
    deal.close()
    return [Grant(campaign_id, tasks) for campaign_id, tasks in deal.given.items()]


def slots_ahead(slots: int) -> int:
    """How many of a cluster's slots may be taken ahead of the turn."""
    return max(1, slots // AHEAD_SHARE)


def weights(ledger: Ledger, backlogs: Iterable[Backlog]) -> dict[str, float]:
    """The weights of the users who compete: as they were given, bent by their recent use."""
    fixed = {backlog.user: backlog.weight for backlog in backlogs}
    recent = {user: ledger.users[user].recent for user in fixed if user in ledger.users}
    factors = use_factors(recent, fixed)
    return {user: weight * factors[user] for user, weight in fixed.items()}


def _ahead(backlogs: Sequence[Backlog], others: Others, deal: _Deal) -> list[Backlog]:
    """The campaigns in test mode that go ahead: one of each user at a time, on few slots.

    On a small cluster, where one slot is much, only those whose users are not ahead of their turn already.
    """
    busy = {backlog.user for backlog in backlogs if backlog.urgent and backlog.live}
    slots = deal.slots + others.live
    first: dict[str, Backlog] = {}
    urgent = [backlog for backlog in backlogs if backlog.urgent and backlog.room > 0 and backlog.user not in busy]
    for backlog in sorted(urgent, key=lambda each: (deal.ahead(each), each.campaign_id)):
        first.setdefault(backlog.user, backlog)
    if slots < AHEAD_SHARE:
        first = {user: backlog for user, backlog in first.items() if deal.in_time(backlog)}
    line = sorted(first.values(), key=lambda backlog: (deal.users.ahead[backlog.user], backlog.user))
    return line[: max(0, slots_ahead(slots) - others.ahead)]


def by_turns(waiting: Sequence[tuple[int, str]], there: Mapping[str, int], places: int) -> list[int]:
    """Which of these (number, user) get places: users in turn, of each in order; `there`: what each has already."""
    had = dict(there)
    line = []
    for place, (number, user) in enumerate(waiting):
        had[user] = had.get(user, 0) + 1
        line.append((had[user], place, number))
    return [number for _, _, number in sorted(line)[: max(0, places)]]


class _Deal:
    """One deal under way. Times are virtual and count the jobs in flight, those given out here too."""

    def __init__(self, ledger: Ledger, hungry: Sequence[Backlog], jobs: int, others: Others) -> None:
        self.ledger = ledger
        self.left = float(jobs)
        self.slots = jobs + sum(backlog.live for backlog in hungry)
        self.live = {backlog.campaign_id: backlog.live for backlog in hungry}
        self.given: dict[int, int] = {}
        self.weights = weights(ledger, hungry)
        retire(ledger, self.weights, self.live)
        self._by_user: dict[str, list[Backlog]] = defaultdict(list)
        for backlog in hungry:
            self._by_user[backlog.user].append(backlog)
        self.users = self._level_of_users(others)
        self.campaigns = {user: self._level_of_campaigns(user, backlogs) for user, backlogs in self._by_user.items()}

    def _level_of_users(self, others: Others) -> Level[str]:
        flying, spent, longest = {}, {}, 0.0
        for user, backlogs in self._by_user.items():
            weight = self.weights[user]
            self.ledger.user(user).weight = weight
            flying[user] = (others.reserved.get(user, 0.0) + sum(each.reserved for each in backlogs)) / weight
            spent[user] = (others.spent.get(user, 0.0) + sum(each.spent for each in backlogs)) / weight
            longest = max(longest, *(each.longest / weight for each in backlogs))
        accounts = {user: self.ledger.users[user] for user in self._by_user}
        return Level(self.ledger.time, accounts, flying, spent, self._lead(longest))

    def _level_of_campaigns(self, user: str, backlogs: Sequence[Backlog]) -> Level[int]:
        return Level(
            self.ledger.users[user].inner,
            {each.campaign_id: self.ledger.campaign(user, each.campaign_id) for each in backlogs},
            {each.campaign_id: each.reserved / each.share for each in backlogs},
            {each.campaign_id: each.spent / each.share for each in backlogs},
            self._lead(max(each.longest / each.share for each in backlogs)),
        )

    def _lead(self, longest: float) -> float:
        """How far ahead of the present those can be who compete with jobs of at most this virtual time."""
        return 2 * (self.slots + 1) * longest

    def close(self) -> None:
        """Bring the ledger to the present."""
        for user, level in self.campaigns.items():
            level.close([each.campaign_id for each in self._by_user[user] if self._sated(each)])
            self.ledger.users[user].inner = level.now
        self.users.close([user for user, backlogs in self._by_user.items() if all(map(self._sated, backlogs))])
        self.ledger.time = self.users.now

    def _sated(self, backlog: Backlog) -> bool:
        return self.given.get(backlog.campaign_id, 0) >= backlog.room

    def ahead(self, backlog: Backlog) -> float:
        """How far this campaign is among its user's."""
        return self.campaigns[backlog.user].ahead[backlog.campaign_id]

    def in_time(self, backlog: Backlog) -> bool:
        """Whether the user of this campaign is ahead of the others by one job at most."""
        ahead = self.users.ahead
        return ahead[backlog.user] <= min(ahead.values()) + backlog.guess / self.weights[backlog.user]

    def once(self, backlogs: Iterable[Backlog]) -> None:
        """A place for each of these out of its turn, as far as there are any."""
        for backlog in self._deal(list(backlogs), again=False):
            self.users.forgive(backlog.user)
            self.campaigns[backlog.user].forgive(backlog.campaign_id)

    def in_turn(self, backlogs: Sequence[Backlog]) -> None:
        """Place by place, as long as there are places and somebody who can use them."""
        for _ in self._deal(backlogs, again=True):
            pass

    def _deal(self, backlogs: Sequence[Backlog], *, again: bool) -> Iterator[Backlog]:
        """The user who is furthest behind, and of its campaigns the one that is, is given a place after its yield."""
        campaigns: dict[str, list[tuple[float, int, int, Backlog]]] = defaultdict(list)
        for backlog in backlogs:
            if not self._sated(backlog):
                campaigns[backlog.user].append(self._entry(backlog))
        for queue in campaigns.values():
            heapq.heapify(queue)
        users = [(self.users.ahead[user], user) for user in campaigns]
        heapq.heapify(users)
        while self.left > 0 and users:
            _, user = heapq.heappop(users)
            backlog = heapq.heappop(campaigns[user])[3]
            if again and not users and not campaigns[user]:  # nobody else competes: all but the last at once
                there = math.ceil(self.left / backlog.places)
                self._give(backlog, min(there, backlog.room - self.given.get(backlog.campaign_id, 0)) - 1)
            yield backlog
            self._give(backlog)
            if again and not self._sated(backlog):
                heapq.heappush(campaigns[user], self._entry(backlog))
            if campaigns[user]:
                heapq.heappush(users, (self.users.ahead[user], user))

    def _entry(self, backlog: Backlog) -> tuple[float, int, int, Backlog]:
        return self.ahead(backlog), self.live[backlog.campaign_id], backlog.campaign_id, backlog

    def _give(self, backlog: Backlog, tasks: int = 1) -> None:
        """The last one may need more places than are left: else a large job would wait for ever among small ones."""
        self.left -= tasks * backlog.places
        self.given[backlog.campaign_id] = self.given.get(backlog.campaign_id, 0) + tasks
        self.live[backlog.campaign_id] += tasks
        self.campaigns[backlog.user].give(backlog.campaign_id, tasks * backlog.guess / backlog.share)
        self.users.give(backlog.user, tasks * backlog.guess / self.weights[backlog.user])
