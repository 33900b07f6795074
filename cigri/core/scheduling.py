"""Who gets the jobs that a cluster can take: users in turn, campaigns of a user in turn, nobody is left out."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backlog:
    """A campaign that has tasks left for a cluster. `served`: when it last got some there (0: never), any clock."""

    campaign_id: int
    user: str
    pending: int
    live: int  # its jobs on this cluster
    max_jobs: int | None = None
    served: float = 0.0
    urgent: bool = False  # in test mode: served before all others
    weight: float = 1.0  # of the user's share, the same for all campaigns of a user

    @property
    def room(self) -> int:
        """How many tasks it could use now."""
        return self.pending if self.max_jobs is None else max(0, min(self.pending, self.max_jobs - self.live))


@dataclass(frozen=True, slots=True)
class Grant:
    """How many tasks of a campaign the cluster may take now; who waited longest is submitted first."""

    campaign_id: int
    tasks: int


def share(backlogs: Sequence[Backlog], jobs: int) -> list[Grant]:
    """Deal `jobs` places out, one campaign in test mode per user first; the grants come in their order of use.

    One place at a time goes to the user with the fewest jobs (for the user's weight) there, and of that user's to the
    one with the fewest; among equals to who was served longest ago. So no campaign with room is passed over twice
    by another of the same user, nor a user by another user, while the other has more jobs there; and with fewer
    places than campaigns they take turns.
    """
    ahead = _ahead(backlogs)
    urgent = _deal([backlog for backlog in backlogs if backlog.campaign_id in ahead], jobs)
    left = jobs - sum(grant.tasks for grant in urgent)
    return urgent + _deal([backlog for backlog in backlogs if backlog.campaign_id not in ahead], left)


def _ahead(backlogs: Sequence[Backlog]) -> set[int]:
    """The campaigns in test mode that go ahead: one of each user at a time; the others take their ordinary turn."""
    busy = {backlog.user for backlog in backlogs if backlog.urgent and backlog.live}
    first: dict[str, int] = {}
    for backlog in sorted(backlogs, key=lambda backlog: (backlog.served, backlog.campaign_id)):
        if backlog.urgent and backlog.room > 0 and backlog.user not in busy:
            first.setdefault(backlog.user, backlog.campaign_id)
    return set(first.values())


def _deal(backlogs: Sequence[Backlog], jobs: int) -> list[Grant]:
    hungry = [backlog for backlog in backlogs if backlog.room > 0]
    campaigns: dict[str, list[tuple[int, float, int]]] = defaultdict(list)
    for backlog in hungry:
        heapq.heappush(campaigns[backlog.user], (backlog.live, backlog.served, backlog.campaign_id))
    weights = {backlog.user: backlog.weight for backlog in hungry}
    users = _users(backlogs, weights)
    room = {backlog.campaign_id: backlog.room for backlog in hungry}
    given: dict[int, int] = {}
    while jobs > 0 and users:
        load, served, user = heapq.heappop(users)
        campaign_live, campaign_served, campaign_id = heapq.heappop(campaigns[user])
        given[campaign_id] = given.get(campaign_id, 0) + 1
        jobs -= 1
        if given[campaign_id] < room[campaign_id]:
            heapq.heappush(campaigns[user], (campaign_live + 1, campaign_served, campaign_id))
        if campaigns[user]:
            heapq.heappush(users, (load + 1 / weights[user], served, user))
    order = {backlog.campaign_id: (backlog.served, backlog.campaign_id) for backlog in hungry}
    return [Grant(campaign_id, given[campaign_id]) for campaign_id in sorted(given, key=order.__getitem__)]


def _users(backlogs: Sequence[Backlog], weights: Mapping[str, float]) -> list[tuple[float, float, str]]:
    """The users with something to do: how loaded each is, when it was served, its name."""
    live: dict[str, int] = defaultdict(int)
    served: dict[str, float] = defaultdict(float)
    for backlog in backlogs:
        live[backlog.user] += backlog.live
        served[backlog.user] = max(served[backlog.user], backlog.served)
    users = [(live[user] / weights[user], served[user], user) for user in weights]
    heapq.heapify(users)
    return users
