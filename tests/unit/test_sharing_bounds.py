"""The bounds of docs/scheduling.md, over random arrivals, weights, lengths, sizes, capacities, kills and blacklists."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cigri.core.ledger import LEAST_CHARGE, Charge, Ledger, guess
from cigri.core.scheduling import Backlog, Grant, Others, share

USERS = ("alice", "bob", "carol")
SLACK = 1e-6
ENDLESS = 10**6
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclasses.dataclass
class Campaign:
    id: int
    user: str
    share: float
    walltime: int  # what a job can last at most; it is expected to at first
    lengths: list[int]  # of its jobs, over and over
    cores: int = 1  # of each job
    pending: int = ENDLESS
    max_jobs: int | None = None
    away: bool = False  # blacklisted, paused: for a while
    started: int = 0
    ended: int = 0
    used: float = 0.0

    @property
    def longest(self):
        """What a job is charged at most."""
        return self.walltime * self.cores


@dataclasses.dataclass(eq=False)
class Job:
    campaign: Campaign
    start: int
    length: int


@dataclasses.dataclass
class Deal:
    """What each had before, what was given; whether there was a slot for each, and whether somebody had none."""

    before: Counter[int]
    given: Counter[int]
    roomy: bool
    out_of_turn: bool


class Cluster:
    """A cluster of the model: its slots take a job each, and what is sent starts at once."""

    def __init__(self, weights, slots, campaigns, *, exact=False, rule=share):
        self.ledger = Ledger()
        self.rule = rule
        self.weights = dict(weights)
        self.slots = self.most_slots = slots
        self.campaigns = {campaign.id: campaign for campaign in campaigns}
        self.exact = exact
        self.flying = []
        self.now = 0
        self.out_of_turn = False  # whether a place was given out of turn, ever
        self.killed = False
        self.least_weight = defaultdict(lambda: float("inf"))
        self.most_weight = defaultdict(float)
        self.service = Counter()  # by user and by campaign: core-seconds charged over the weight
        self.waiting = set()  # users and campaigns that were left waiting by the last two deals and have not been away
        self.passed = Counter()  # dispatches of others since the last of each campaign that waits
        self.longest_gap = Counter()
        self.last_deal = None

    def live(self):
        return Counter(job.campaign.id for job in self.flying)

    def backlogs(self):
        live, spent = self.live(), Counter()
        for job in self.flying:
            spent[job.campaign.id] += (self.now - job.start) * job.campaign.cores
        found = []
        for each in self.campaigns.values():
            one = each.longest if self.exact else guess(each.ended, each.used, each.longest)
            found.append(
                Backlog(each.id, each.user, 0 if each.away else each.pending, live[each.id], each.max_jobs, False,
                        self.weights[each.user], each.share, float(one), float(each.longest), float(spent[each.id]))
            )  # fmt: skip
        return found

    def end(self, jobs, killed=()):
        """These jobs have ended; of those killed the work so far is charged, and their tasks go back."""
        for job in jobs:
            self.flying.remove(job)
            campaign = job.campaign
            used = max(LEAST_CHARGE, (self.now - job.start if job in killed else job.length) * campaign.cores)
            campaign.pending += job in killed
            campaign.ended += 1
            campaign.used += used
            account = self.ledger.user(campaign.user)
            self.service[campaign.user] += used / account.weight
            self.service[campaign.id] += used / campaign.share
            self.ledger.charge(Charge(campaign.id, campaign.user, used, campaign.share))
            if self.exact:
                account.recent = 0.0

    def turn(self, seconds=0):
        """Time passes, jobs end, what is free is dealt out and starts at once."""
        self.now += seconds
        self.end([job for job in self.flying if job.start + job.length <= self.now])
        backlogs = self.backlogs()
        hungry = [backlog for backlog in backlogs if backlog.room]
        free = max(0, self.slots - len(self.flying))
        roomy = free + sum(each.live for each in hungry) >= len(hungry)
        floor = roomy and free > 0 and any(not each.live for each in hungry)
        self.out_of_turn = self.out_of_turn or floor
        grants = self.rule(self.ledger, hungry, free, self.others(backlogs))
        given = Counter({grant.campaign_id: grant.tasks for grant in grants})
        self.last_deal = Deal(Counter({each.campaign_id: each.live for each in hungry}), given, roomy, floor)
        for user in {backlog.user for backlog in hungry}:
            weight = self.ledger.users[user].weight
            self.least_weight[user] = min(self.least_weight[user], weight)
            self.most_weight[user] = max(self.most_weight[user], weight)
        self.see_who_waits(hungry, given, anew=floor)
        for grant in grants:
            self.start(grant)

    @staticmethod
    def others(backlogs):
        reserved, spent, live = Counter(), Counter(), 0
        for each in backlogs:
            if not each.room:
                reserved[each.user] += each.reserved
                spent[each.user] += each.spent
                live += each.live
        return Others(reserved, live, spent=spent)

    def see_who_waits(self, hungry, given, *, anew):
        """Who had something to send before this deal and has after it; `anew`: they have waited since now."""
        left = [each for each in hungry if given[each.campaign_id] < each.room]
        self.waiting = {each.user for each in left} | {each.campaign_id for each in left}
        for number in self.campaigns:
            if anew or number not in self.waiting:
                self.passed[number] = 0

    def start(self, grant):
        campaign = self.campaigns[grant.campaign_id]
        for _ in range(grant.tasks):
            length = campaign.lengths[campaign.started % len(campaign.lengths)]
            campaign.started += 1
            campaign.pending -= 1
            self.flying.append(Job(campaign, self.now, length))
            for other in self.waiting & self.campaigns.keys():
                self.passed[other] += other != campaign.id
                self.longest_gap[other] = max(self.longest_gap[other], self.passed[other])
            self.passed[campaign.id] = 0

    def job(self, who):
        """The virtual time that a job of a user, or of a campaign among its user's, brings at most."""
        if who in self.campaigns:
            return self.campaigns[who].longest / self.campaigns[who].share
        longest = max(campaign.longest for campaign in self.campaigns.values() if campaign.user == who)
        return longest / self.least_weight[who] if self.least_weight[who] < float("inf") else 0.0

    def rivals(self, who):
        """All that compete with a user, or with a campaign, itself among them."""
        if who not in self.campaigns:
            return {campaign.user for campaign in self.campaigns.values()}
        return {each.id for each in self.campaigns.values() if each.user == self.campaigns[who].user}

    def longest_job(self, who):
        return max(self.job(each) for each in self.rivals(who))

    def lead(self, who):
        """How far the account of a user or a campaign is from the present."""
        if who in self.campaigns:
            return self.ledger.campaigns[who].time - self.ledger.users[self.campaigns[who].user].inner
        return self.ledger.users[who].time - self.ledger.time


def campaigns(*, least=1, walltimes=40, exact=False, endless=False):
    @st.composite
    def drawn(draw):
        found = []
        for number in range(1, 1 + draw(st.integers(least, 8))):
            walltime = draw(st.integers(1, walltimes))
            lengths = [walltime] if exact else draw(st.lists(st.integers(1, walltime), min_size=1, max_size=4))
            found.append(
                Campaign(
                    number, draw(st.sampled_from(USERS)), draw(st.sampled_from([0.5, 1.0, 2.0])), walltime, lengths
                )
            )
            if not exact:
                found[-1].cores = draw(st.integers(1, 3))
            if not (exact or endless):
                found[-1].pending = draw(st.sampled_from([ENDLESS, ENDLESS, 5, 40]))
                found[-1].max_jobs = draw(st.sampled_from([None, None, 1, 3]))
        return found

    return drawn()


def weights(*choices):
    return st.fixed_dictionaries({user: st.sampled_from(choices) for user in USERS})


def steps(most_wait=30, most=60):
    """What happens, and then time passes."""
    number = st.integers(1, 8)
    happens = st.one_of(
        st.tuples(st.just("slots"), st.integers(0, 12)),
        st.tuples(st.just("kill"), st.integers(0, 6)),
        st.tuples(st.sampled_from(["away", "back", "more"]), number),
        st.tuples(st.just("priority"), st.integers(0, 8)),
    )
    wait = st.tuples(st.just("wait"), st.integers(1, most_wait))
    return st.lists(st.one_of(wait, wait, happens), max_size=most)


ANY_WEIGHTS = weights(1 / 16, 0.5, 1.0, 2.0, 16.0)
NEAR_WEIGHTS = weights(1.0, 2.0)


def do(cluster, what, number, *, slots=range(13)):
    if what == "slots":  # the owners take cores, or leave some: jobs that run go on
        cluster.slots = slots[min(number, len(slots) - 1)]
        cluster.most_slots = max(cluster.most_slots, cluster.slots)
    elif what == "kill":
        cluster.killed = True
        victims = cluster.flying[:number]
        cluster.end(victims, victims)
    elif what == "priority":
        cluster.weights[USERS[number % 3]] = [0.5, 1.0, 2.0][number // 3]
    elif what == "more" and number in cluster.campaigns:
        cluster.campaigns[number].pending += 10
    elif number in cluster.campaigns:
        cluster.campaigns[number].away = what == "away"
    cluster.turn(number if what == "wait" else 1)


def behind_and_ahead(cluster):
    """Assert bound 1: how far the accounts of who waits are from the present."""
    most = cluster.most_slots
    for who in cluster.waiting:
        assert cluster.lead(who) >= -most * cluster.job(who) - SLACK
        assert cluster.lead(who) <= widest(cluster) * cluster.longest_job(who) + SLACK


def widest(cluster):
    """How many of the longest jobs somebody can be ahead of the present."""
    return 3 * cluster.most_slots + 2 if cluster.out_of_turn else cluster.most_slots


@SOME
@given(ANY_WEIGHTS, campaigns(), st.integers(1, 12), steps())
def test_nobody_is_far_from_the_present(fixed, owned, slots, events):
    cluster = Cluster(fixed, slots, owned)
    for what, number in events:
        do(cluster, what, number)
        behind_and_ahead(cluster)


class Pairs:
    """The difference of what two got over their weights, at every moment since both wait."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.since = {}

    def look(self):
        """Assert bound 2. A place out of turn begins everything anew."""
        cluster = self.cluster
        waiting = sorted(cluster.waiting, key=str)
        pairs = {(one, other) for one, other in itertools.combinations(waiting, 2) if other in cluster.rivals(one)}
        if cluster.last_deal.out_of_turn:
            self.since = {}
        self.since = {pair: gaps for pair, gaps in self.since.items() if pair in pairs}
        for pair in pairs:
            gaps = self.since.setdefault(pair, [])
            gaps.append(cluster.service[pair[0]] - cluster.service[pair[1]])
            own = cluster.most_slots * (cluster.job(pair[0]) + cluster.job(pair[1]))
            assert max(gaps) - min(gaps) <= own + 2 * widest(cluster) * cluster.longest_job(pair[0]) + SLACK


@SOME
@given(NEAR_WEIGHTS, campaigns(least=4, walltimes=5), st.integers(1, 3), steps(10, 150))
def test_two_who_wait_are_served_alike(fixed, owned, slots, events):
    cluster = Cluster(fixed, slots, owned)
    pairs = Pairs(cluster)
    for what, number in events:
        do(cluster, what, number, slots=range(4))
        pairs.look()


def passing(cluster, number):
    """Bound 3: dispatches in turn that can pass before a campaign that waits gets its next."""
    mine, most = cluster.campaigns[number], cluster.most_slots

    def turns(me, other, weight, others):
        span = (most + widest(cluster)) * cluster.longest_job(me) + most * cluster.job(other)
        return 1 + (span + SLACK) * weight / least_charge(cluster, others)

    in_user = sum(
        turns(number, other.id, other.share, [other])
        for other in cluster.campaigns.values()
        if other.user == mine.user and other is not mine
    )
    of_users = sum(
        turns(
            mine.user,
            user,
            cluster.most_weight[user],
            [each for each in cluster.campaigns.values() if each.user == user],
        )
        for user in cluster.rivals(mine.user) - {mine.user}
    )
    return (in_user + 1) * (of_users + 1)


def least_charge(cluster, owned):
    """The least that a job of these campaigns is guessed or charged."""
    return LEAST_CHARGE if cluster.killed else min(min(each.lengths) * each.cores for each in owned)


def nobody_passed_for_ever(cluster):
    for number in cluster.waiting & cluster.campaigns.keys():
        assert cluster.passed[number] <= passing(cluster, number)


@SOME
@given(NEAR_WEIGHTS, campaigns(least=4, walltimes=5), st.integers(1, 3), steps(10, 150))
def test_nobody_who_waits_is_passed_for_ever(fixed, owned, slots, events):
    cluster = Cluster(fixed, slots, owned)
    for what, number in events:
        do(cluster, what, number, slots=range(4))
        nobody_passed_for_ever(cluster)


def oldest_first(ledger, backlogs, jobs, others):
    """A rule without fairness."""
    share(ledger, backlogs, 0, others)
    first = min(backlogs, key=lambda each: each.campaign_id)
    return [Grant(first.campaign_id, jobs)] if jobs else []


@pytest.mark.parametrize(
    "check", [lambda cluster: Pairs(cluster).look, lambda cluster: lambda: nobody_passed_for_ever(cluster)]
)
@pytest.mark.parametrize("users", [("alice", "bob"), ("alice", "alice")], ids=["users", "campaigns of one"])
def test_these_checks_notice_who_starves(check, users):
    owned = [Campaign(number, user, 1.0, 2, [2]) for number, user in enumerate([*users, users[1], users[1]], 1)]
    cluster = Cluster(dict.fromkeys(USERS, 1.0), 2, owned, rule=oldest_first)
    look = check(cluster)
    with pytest.raises(AssertionError):
        for _ in range(200):
            cluster.turn(2)
            look()


@SOME
@given(ANY_WEIGHTS, campaigns(least=3, exact=True), st.integers(1, 2), st.lists(st.integers(1, 30), max_size=80))
def test_when_lengths_are_known_the_bounds_are_those_of_one_job(fixed, owned, slots, waits):
    """Bounds 2 and 3 where guesses are right: one job each, and as many as are due in the time of one."""
    cluster = Cluster(fixed, slots, owned, exact=True)
    for seconds in waits:
        cluster.turn(seconds)
        flying = Counter()
        for job in cluster.flying:
            flying[job.campaign.user] += job.length / cluster.ledger.users[job.campaign.user].weight
        ahead = {user: account.time + flying[user] for user, account in cluster.ledger.users.items()}
        for one in ahead:
            assert ahead[one] - min(ahead.values()) <= cluster.job(one) + SLACK
        for mine in owned:
            assert cluster.longest_gap[mine.id] <= due_meanwhile(cluster, mine)


def due_meanwhile(cluster, mine):
    """Dispatches of others until the next of `mine`, when lengths are known."""
    owned = cluster.campaigns.values()
    least = {
        user: min(each.walltime for each in owned if each.user == user) / cluster.weights[user]
        for user in {each.user for each in owned}
    }
    in_user = sum(
        1 + (cluster.job(mine.id) + SLACK) / cluster.job(other.id)
        for other in owned
        if other.user == mine.user and other is not mine
    )
    of_users = sum(1 + (cluster.job(mine.user) + SLACK) / each for user, each in least.items() if user != mine.user)
    return (in_user + 1) * (of_users + 1)


def roomy(owned, more):
    """Capacities with a slot for every campaign."""
    return range(len(owned), len(owned) + more + 9)


@SOME
@given(ANY_WEIGHTS, campaigns(), st.integers(0, 8), steps())
def test_every_campaign_has_a_task_in_flight_while_there_is_a_slot_for_each(fixed, owned, more, events):
    """Bound 4: who has none gets one first, and no later than the jobs have ended that were there."""
    cluster = Cluster(fixed, len(owned) + more, owned)
    without = {}  # campaign -> when the last job ends that was there when it began to wait
    for what, number in events:
        do(cluster, what, number, slots=roomy(owned, more))
        deal = cluster.last_deal
        if deal.out_of_turn and any(deal.before[number] or tasks > 1 for number, tasks in deal.given.items()):
            assert {number for number, live in deal.before.items() if not live} <= deal.given.keys()
        live = cluster.live()
        last = max((job.start + job.length for job in cluster.flying), default=cluster.now)
        hungry = {number for number in cluster.waiting & cluster.campaigns.keys() if not live[number]}
        without = {number: without.get(number, last) for number in hungry}
        assert all(cluster.now < until for until in without.values())


@SOME
@given(ANY_WEIGHTS, campaigns(endless=True), st.integers(0, 8), steps())
def test_who_has_a_task_in_flight_keeps_one(fixed, owned, more, events):
    """As long as nobody new comes and owners take nothing, when the last one ends the next is there."""
    cluster = Cluster(fixed, len(owned) + more, owned)
    cluster.turn()
    for what, number in events:
        if what not in ("away", "more"):
            do(cluster, what, number, slots=[cluster.slots + 1])
        assert cluster.live().keys() == cluster.campaigns.keys()


@SOME
@given(ANY_WEIGHTS, campaigns(least=2), st.integers(1, 6), st.integers(1, 8), st.lists(st.integers(1, 30), max_size=40))
def test_whoever_is_taken_out_stops_nobody(fixed, owned, slots, number, waits):
    """Slots never stay free while another campaign has tasks that may go there."""
    cluster = Cluster(fixed, slots, owned)
    for round_, seconds in enumerate(waits):
        if number in cluster.campaigns:
            cluster.campaigns[number].away = round_ % 3 == 0
        cluster.turn(seconds)
        assert len(cluster.flying) == slots or not any(backlog.room for backlog in cluster.backlogs())
