"""The bounds of docs/scheduling.md, over random arrivals, weights, lengths, capacities, kills and blacklists."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cigri.core.ledger import LEAST_CHARGE, Charge, Ledger, guess
from cigri.core.scheduling import Backlog, share
from tests.bench.gaps import dispatches, turns

USERS = ("alice", "bob", "carol")
SLACK = 1e-6
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclasses.dataclass
class Campaign:
    id: int
    user: str
    share: float
    walltime: int  # what a job can last at most, and is charged at first
    lengths: list[int]  # of its jobs, over and over
    away: bool = False  # blacklisted, paused: for a while
    started: int = 0
    ended: int = 0
    used: float = 0.0


class Cluster:
    """A cluster of the model: jobs of one core; all campaigns have more tasks than will ever run."""

    def __init__(self, weights, slots, campaigns, *, exact=False):
        self.ledger = Ledger()
        self.weights = weights
        self.slots = slots
        self.most_slots = slots
        self.campaigns = {campaign.id: campaign for campaign in campaigns}
        self.exact = exact
        self.flying = []  # (end, length, campaign)
        self.now = 0
        self.out_of_turn = False  # whether a place was given out of turn, ever
        self.weight_seen = defaultdict(list)
        self.service = Counter()  # by user: core-seconds charged over the weight
        self.passed = Counter()  # dispatches of others since the last of each campaign that waits
        self.longest_gap = Counter()
        self.last_deal = None  # what each had before, what was given, whether there was a slot for each

    def present(self):
        return [campaign for campaign in self.campaigns.values() if not campaign.away]

    def backlogs(self):
        live = Counter(campaign for _, _, campaign in self.flying)
        found = []
        for each in self.present():
            one = each.walltime if self.exact else guess(each.ended, each.used, each.walltime)
            found.append(
                Backlog(each.id, each.user, 10**6, live[each.id], None, False, self.weights[each.user], each.share,
                        float(one), float(each.walltime))
            )  # fmt: skip
        return found

    def end(self, jobs, killed=()):
        """These jobs have ended; of those killed the work so far is charged."""
        for job in jobs:
            self.flying.remove(job)
            end, length, number = job
            used = max(LEAST_CHARGE, length - (end - self.now) if job in killed else length)
            campaign = self.campaigns[number]
            campaign.ended += 1
            campaign.used += used
            account = self.ledger.user(campaign.user)
            self.service[campaign.user] += used / account.weight
            self.ledger.charge(Charge(number, campaign.user, used, campaign.share))
            if self.exact:
                account.recent = 0.0

    def turn(self, seconds=0):
        """Time passes, jobs end, what is free is dealt out and starts at once."""
        self.now += seconds
        self.end([job for job in self.flying if job[0] <= self.now])
        backlogs = self.backlogs()
        free = max(0, self.slots - len(self.flying))
        live = sum(backlog.live for backlog in backlogs)
        floor = free + live >= len(backlogs) and any(not backlog.live for backlog in backlogs)
        self.out_of_turn = self.out_of_turn or (free > 0 and floor)
        grants = share(self.ledger, backlogs, free)
        given = {grant.campaign_id: grant.tasks for grant in grants}
        self.last_deal = (Counter({backlog.campaign_id: backlog.live for backlog in backlogs}), given, floor)
        for backlog in backlogs:
            self.weight_seen[backlog.user].append(self.ledger.users[backlog.user].weight)
        for grant in grants:
            self.start(grant)

    def start(self, grant):
        campaign = self.campaigns[grant.campaign_id]
        for _ in range(grant.tasks):
            length = campaign.lengths[campaign.started % len(campaign.lengths)]
            campaign.started += 1
            self.flying.append((self.now + length, length, campaign.id))
            for other in self.present():
                self.passed[other.id] += other is not campaign
                self.longest_gap[other.id] = max(self.longest_gap[other.id], self.passed[other.id])
            self.passed[campaign.id] = 0

    def job(self, user):
        """The virtual time that a job of the user brings at most."""
        longest = max(campaign.walltime for campaign in self.campaigns.values() if campaign.user == user)
        return longest / min(self.weight_seen[user])

    def job_of(self, number):
        return self.campaigns[number].walltime / self.campaigns[number].share


@st.composite
def campaigns(draw, least=1, *, exact=False):
    found = []
    for number in range(1, 1 + draw(st.integers(least, 8))):
        walltime = draw(st.integers(1, 40))
        lengths = [walltime] if exact else draw(st.lists(st.integers(1, walltime), min_size=1, max_size=4))
        weight = draw(st.sampled_from([0.5, 1.0, 2.0]))
        found.append(Campaign(number, draw(st.sampled_from(USERS)), weight, walltime, lengths))
    return found


weights = st.fixed_dictionaries({user: st.sampled_from([1 / 16, 0.5, 1.0, 2.0, 16.0]) for user in USERS})
steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 30)),
        st.tuples(st.just("slots"), st.integers(0, 12)),
        st.tuples(st.just("kill"), st.integers(0, 6)),
        st.tuples(st.just("away"), st.integers(1, 8)),
        st.tuples(st.just("back"), st.integers(1, 8)),
    ),
    max_size=60,
)


def do(cluster, what, number):
    if what == "slots":  # the owners take cores, or leave some: jobs that run go on
        cluster.slots = number
        cluster.most_slots = max(cluster.most_slots, number)
    elif what == "kill":
        victims = cluster.flying[:number]
        cluster.end(victims, victims)
    elif number in cluster.campaigns:
        cluster.campaigns[number].away = what == "away"
        if what == "away":
            cluster.passed[number] = 0
    cluster.turn(number if what == "wait" else 1)


def behind_and_ahead(cluster):
    """Assert bound 1: how far the accounts of who waits are from the present."""
    most, ledger = cluster.most_slots, cluster.ledger
    for user in {campaign.user for campaign in cluster.present()}:
        lead, job = ledger.users[user].time - ledger.time, cluster.job(user)
        assert lead >= -most * job - SLACK
        assert lead <= (3 * most + 2 if cluster.out_of_turn else most) * job + SLACK
    for campaign in cluster.present():
        lead = ledger.campaigns[campaign.id].time - ledger.users[campaign.user].inner
        job = cluster.job_of(campaign.id)
        assert lead >= -most * job - SLACK
        assert lead <= (3 * most + 2 if cluster.out_of_turn else most) * job + SLACK


@SOME
@given(weights, campaigns(), st.integers(1, 12), steps)
def test_nobody_is_far_from_the_present(fixed, owned, slots, events):
    cluster = Cluster(fixed, slots, owned)
    for what, number in events:
        do(cluster, what, number)
        behind_and_ahead(cluster)


@SOME
@given(weights, campaigns(least=4), st.integers(1, 3), steps)
def test_two_users_who_wait_are_served_alike(fixed, owned, slots, events):
    """Bound 2: what any two get over their weights, from any moment on, as long as both wait."""
    cluster = Cluster(fixed, slots, owned)
    since = {}  # (one, other) -> difference of their service at every moment since both wait
    for what, number in events:
        do(cluster, what, min(number, 3) if what == "slots" else number)
        waiting = {campaign.user for campaign in cluster.present()}
        for pair in ((one, other) for one in waiting for other in waiting if one < other):
            gap = cluster.service[pair[0]] - cluster.service[pair[1]]
            since.setdefault(pair, []).append(gap)
            if not cluster.out_of_turn:
                bound = 2 * cluster.most_slots * (cluster.job(pair[0]) + cluster.job(pair[1]))
                assert max(since[pair]) - min(since[pair]) <= bound + SLACK
        since = {pair: gaps for pair, gaps in since.items() if set(pair) <= waiting}


def passing(cluster, number):
    """Bound 3: dispatches in turn that can pass before a campaign that waits gets its next."""
    mine, most = cluster.campaigns[number], cluster.most_slots
    in_user = [
        turns(most, cluster.job_of(number), cluster.job_of(other.id), other.share)
        for other in cluster.campaigns.values()
        if other.user == mine.user and other is not mine
    ]
    others = {campaign.user for campaign in cluster.campaigns.values()} - {mine.user}
    of_users = [
        turns(most, cluster.job(mine.user), cluster.job(user), max(cluster.weight_seen[user]))
        for user in others
        if cluster.weight_seen[user]
    ]
    return dispatches(in_user, of_users) + SLACK


@SOME
@given(weights, campaigns(least=4), st.integers(1, 3), steps)
def test_nobody_who_waits_is_passed_for_ever(fixed, owned, slots, events):
    cluster = Cluster(fixed, slots, owned)
    for what, number in events:
        do(cluster, what, min(number, 3) if what == "slots" else number)
        if cluster.out_of_turn:
            return
        for campaign in cluster.present():
            assert cluster.passed[campaign.id] <= passing(cluster, campaign.id)


@SOME
@given(weights, campaigns(least=3, exact=True), st.integers(1, 2), st.lists(st.integers(1, 30), max_size=80))
def test_when_lengths_are_known_the_bounds_are_those_of_one_job(fixed, owned, slots, waits):
    """Bounds 2 and 3 where guesses are right: one job each, and as many as are due in the time of one."""
    cluster = Cluster(fixed, slots, owned, exact=True)
    for seconds in waits:
        cluster.turn(seconds)
        flying = Counter()
        for _, length, number in cluster.flying:
            user = cluster.campaigns[number].user
            flying[user] += length / cluster.ledger.users[user].weight
        ahead = {user: cluster.ledger.users[user].time + flying[user] for user in cluster.ledger.users}
        for one in ahead:
            assert -SLACK <= ahead[one] - cluster.ledger.time <= cluster.job(one) + SLACK
        for mine in cluster.present():
            assert cluster.longest_gap[mine.id] <= due_meanwhile(cluster, mine)


def due_meanwhile(cluster, mine):
    """Dispatches of others until the next of `mine`, when lengths are known."""
    least = {
        user: min(each.walltime for each in cluster.present() if each.user == user) / cluster.weights[user]
        for user in {each.user for each in cluster.present()}
    }
    in_user = sum(
        1 + (cluster.job_of(mine.id) + SLACK) / cluster.job_of(other.id)
        for other in cluster.present()
        if other.user == mine.user and other is not mine
    )
    of_users = sum(1 + (cluster.job(mine.user) + SLACK) / each for user, each in least.items() if user != mine.user)
    return (in_user + 1) * (of_users + 1)


@SOME
@given(weights, campaigns(), st.integers(0, 8), steps)
def test_every_campaign_has_a_task_in_flight_while_there_is_a_slot_for_each(fixed, owned, more, events):
    """Bound 4: who has none gets one before somebody who has one gets another."""
    cluster = Cluster(fixed, len(owned) + more, owned)
    for what, number in events:
        do(cluster, what, max(number, len(owned)) if what == "slots" else number)
        before, got, floor = cluster.last_deal
        without = {campaign.id for campaign in cluster.present() if not before[campaign.id]}
        if floor and any(before[number] or tasks > 1 for number, tasks in got.items()):
            assert without <= got.keys(), "nobody gets a second before each has one"


@SOME
@given(weights, campaigns(), st.integers(0, 8), st.lists(st.integers(1, 30), max_size=60))
def test_who_has_a_task_in_flight_keeps_one(fixed, owned, more, waits):
    cluster = Cluster(fixed, len(owned) + more, owned)
    cluster.turn()
    for seconds in waits:
        cluster.turn(seconds)
        assert {campaign for _, _, campaign in cluster.flying} == set(cluster.campaigns)


@SOME
@given(weights, campaigns(least=2), st.integers(1, 6), st.integers(1, 8), st.lists(st.integers(1, 30), max_size=40))
def test_whoever_is_taken_out_stops_nobody(fixed, owned, slots, number, waits):
    """Slots never stay free while another campaign has tasks."""
    cluster = Cluster(fixed, slots, owned)
    for round_, seconds in enumerate(waits):
        if number in cluster.campaigns:
            cluster.campaigns[number].away = round_ % 3 == 0
        cluster.turn(seconds)
        if cluster.present():
            assert len(cluster.flying) == slots
