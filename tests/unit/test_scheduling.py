"""Sharing: bounds for every deal, and for how long a campaign can be passed over."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cigri.core.scheduling import Backlog, Grant, share

users = st.sampled_from(["alice", "bob", "carol"])
bags = st.builds(
    Backlog, st.just(0), users, st.integers(0, 30), st.integers(0, 20), st.none() | st.integers(1, 20),
    st.sampled_from([0.0, 1.0, 2.0, 3.0]),
)  # fmt: skip


@st.composite
def situations(draw):
    found = draw(st.lists(bags, max_size=8))
    return [dataclasses.replace(bag, campaign_id=number) for number, bag in enumerate(found, 1)]


places = st.integers(0, 60)


@given(situations(), places)
def test_exactly_what_there_is_is_dealt_out(backlogs, jobs):
    dealt = sum(grant.tasks for grant in share(backlogs, jobs))
    assert dealt == min(jobs, sum(backlog.room for backlog in backlogs))


@given(situations(), places)
def test_nobody_gets_more_than_there_is_room_for(backlogs, jobs):
    by_id = {backlog.campaign_id: backlog for backlog in backlogs}
    grants = share(backlogs, jobs)
    assert len({grant.campaign_id for grant in grants}) == len(grants)
    for grant in grants:
        backlog = by_id[grant.campaign_id]
        assert 1 <= grant.tasks <= backlog.pending
        assert backlog.max_jobs is None or backlog.live + grant.tasks <= backlog.max_jobs


@given(situations(), places)
def test_who_waited_longest_is_first(backlogs, jobs):
    served = {backlog.campaign_id: backlog.served for backlog in backlogs}
    order = [served[grant.campaign_id] for grant in share(backlogs, jobs)]
    assert order == sorted(order)


@given(situations(), places)
def test_no_user_gets_ahead_of_another_who_wants_more(backlogs, jobs):
    """Whoever got something has, without its last place, no more jobs there than whoever could have had it."""
    given_to = {grant.campaign_id: grant.tasks for grant in share(backlogs, jobs)}
    jobs_of, got, wanted = Counter(), Counter(), Counter()
    for backlog in backlogs:
        granted = given_to.get(backlog.campaign_id, 0)
        jobs_of[backlog.user] += backlog.live + granted
        got[backlog.user] += granted
        wanted[backlog.user] += backlog.room - granted
    for rich in (user for user in got if got[user]):
        assert all(jobs_of[rich] - 1 <= jobs_of[poor] for poor in wanted if wanted[poor] and poor != rich)


@given(situations(), places)
def test_no_campaign_gets_ahead_of_another_of_its_user(backlogs, jobs):
    given_to = Counter({grant.campaign_id: grant.tasks for grant in share(backlogs, jobs)})
    for rich in (backlog for backlog in backlogs if given_to[backlog.campaign_id]):
        for poor in backlogs:
            if poor.user == rich.user and poor.room > given_to[poor.campaign_id]:
                assert rich.live + given_to[rich.campaign_id] - 1 <= poor.live + given_to[poor.campaign_id]


@given(situations(), places, st.randoms(use_true_random=False))
def test_the_order_of_the_campaigns_does_not_matter(backlogs, jobs, chance):
    shuffled = list(backlogs)
    chance.shuffle(shuffled)
    assert share(shuffled, jobs) == share(backlogs, jobs)


def test_one_user_with_many_campaigns_is_one_user():
    many = [Backlog(number, "alice", 100, 0) for number in range(1, 10)]
    grants = share([*many, Backlog(10, "bob", 100, 0)], 20)
    assert {grant.campaign_id: grant.tasks for grant in grants}[10] == 10


def test_what_others_cannot_use_goes_to_who_can():
    assert share([Backlog(1, "alice", 3, 0), Backlog(2, "bob", 100, 0)], 50) == [Grant(1, 3), Grant(2, 47)]


def test_a_priority_of_one_is_twice_the_share_and_nobody_is_left_out():
    """K6."""
    heavy, light = Backlog(1, "alice", 100, 0, weight=2.0), Backlog(2, "bob", 100, 0)
    assert {grant.campaign_id: grant.tasks for grant in share([heavy, light], 30)} == {1: 20, 2: 10}
    full = [Backlog(1, "alice", 100, 8, weight=16.0), Backlog(2, "bob", 100, 0, weight=1 / 16)]
    assert share(full, 1) == [Grant(2, 1)], "who has nothing there comes first, whatever the priority"


def test_nothing_for_nobody():
    assert share([], 10) == [] and share([Backlog(1, "alice", 10, 5, max_jobs=5)], 10) == []


class Cluster:
    """A cluster with `slots` that is full of the grid's jobs; each lasts some of at most `longest` rounds."""

    def __init__(self, owners, slots, longest, seed):
        self.owners = owners  # campaign -> user; all have more tasks than will ever run
        self.slots = slots
        self.longest = longest
        self.chance = random.Random(seed)  # noqa: S311 - a simulation
        self.running = []  # (campaign, last round)
        self.served = dict.fromkeys(owners, 0.0)
        self.round = 0
        self.waited = dict.fromkeys(owners, 0)
        self.longest_wait = 0

    def turn(self):
        """One round: jobs end, what is free is shared, what is granted starts."""
        self.round += 1
        self.running = [job for job in self.running if job[1] > self.round]
        live = Counter(campaign for campaign, _ in self.running)
        backlogs = [
            Backlog(campaign, user, 10**6, live[campaign], served=self.served[campaign])
            for campaign, user in self.owners.items()
        ]
        for place, grant in enumerate(share(backlogs, self.slots - len(self.running))):
            self.served[grant.campaign_id] = self.round + place / 1e6
            self.running += [
                (grant.campaign_id, self.round + self.chance.randint(1, self.longest)) for _ in range(grant.tasks)
            ]
        there = {campaign for campaign, _ in self.running}
        for campaign in self.owners:
            self.waited[campaign] = 0 if campaign in there else self.waited[campaign] + 1
        self.longest_wait = max(self.longest_wait, *self.waited.values())


def bound(owners, slots, longest):
    """Rounds after which every campaign has had a job: all users have a turn, and of each all campaigns.

    A place is free at least every `longest` rounds. Before some campaign is served a second time, each of the
    others is served, at worst one after the other on a single place, and users with few campaigns as often as
    those with many.
    """
    most = max(Counter(owners.values()).values())
    return longest * (len(set(owners.values())) * most // slots + 2)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(users, min_size=1, max_size=12), st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32)
)  # fmt: skip
def test_nobody_starves(owned, slots, longest, seed):
    owners = dict(enumerate(owned, 1))
    cluster = Cluster(owners, slots, longest, seed)
    for _ in range(4 * bound(owners, slots, longest)):
        cluster.turn()
    assert cluster.longest_wait <= bound(owners, slots, longest)


@pytest.mark.parametrize("newcomers", [1, 5])
def test_a_late_campaign_is_served_though_others_fill_the_cluster(newcomers):
    owners = dict.fromkeys(range(1, 20), "alice")
    cluster = Cluster(owners, slots=10, longest=3, seed=1)
    for _ in range(50):
        cluster.turn()
    late = {100 + number: "bob" for number in range(newcomers)}
    cluster.owners = owners | late
    cluster.served.update(dict.fromkeys(late, 0.0))
    cluster.waited.update(dict.fromkeys(late, 0))
    for _ in range(3):  # as long as the longest job: then a place is surely free
        cluster.turn()
    assert any(campaign in late for campaign, _ in cluster.running)
