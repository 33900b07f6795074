"""Sharing: what holds for every deal."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cigri.core.ledger import Account, Charge, Ledger, UserAccount, charged, guess, use_factors
from cigri.core.scheduling import AHEAD_SHARE, Backlog, Grant, Others, by_turns, share, slots_ahead

users = st.sampled_from(["alice", "bob", "carol"])
weights = {"alice": 1.0, "bob": 2.0, "carol": 0.25}
amounts = st.integers(1, 5).map(float)


@st.composite
def situations(draw):
    """Backlogs, and the ledger that some past has left."""
    backlogs, ledger = [], Ledger(time=draw(amounts))
    for number in range(1, 1 + draw(st.integers(0, 8))):
        user = draw(users)
        one = draw(amounts)
        backlogs.append(
            Backlog(
                number, user, draw(st.integers(0, 30)), draw(st.integers(0, 20)), draw(st.none() | st.integers(1, 20)),
                False, weights[user], draw(st.sampled_from([0.5, 1.0, 3.0])), one, one * 2,
            )
        )  # fmt: skip
        if draw(st.booleans()):
            ledger.users[user] = UserAccount(draw(amounts), draw(st.booleans()), draw(amounts), draw(amounts))
            ledger.campaigns[number] = Account(draw(amounts), draw(st.booleans()))
    return ledger, backlogs


places = st.integers(0, 60)


def dealt(ledger, backlogs, jobs, others=None):
    return {grant.campaign_id: grant.tasks for grant in share(ledger, backlogs, jobs, others)}


@given(situations(), places)
def test_exactly_what_there_is_is_dealt_out(situation, jobs):
    ledger, backlogs = situation
    assert sum(dealt(ledger, backlogs, jobs).values()) == min(jobs, sum(backlog.room for backlog in backlogs))


@given(situations(), places)
def test_nobody_gets_more_than_there_is_room_for(situation, jobs):
    ledger, backlogs = situation
    by_id = {backlog.campaign_id: backlog for backlog in backlogs}
    grants = share(ledger, backlogs, jobs)
    assert len({grant.campaign_id for grant in grants}) == len(grants)
    for grant in grants:
        backlog = by_id[grant.campaign_id]
        assert 1 <= grant.tasks <= backlog.pending
        assert backlog.max_jobs is None or backlog.live + grant.tasks <= backlog.max_jobs


@given(situations(), places)
def test_while_there_is_a_slot_for_each_nobody_goes_without(situation, jobs):
    ledger, backlogs = situation
    hungry = [backlog for backlog in backlogs if backlog.room]
    without = [backlog for backlog in hungry if not backlog.live]
    got = dealt(ledger, backlogs, jobs)
    if jobs + sum(backlog.live for backlog in hungry) >= len(hungry):
        assert sum(backlog.campaign_id in got for backlog in without) == min(jobs, len(without))


def times(ledger, backlogs, got):
    """Virtual times after a deal, with what is in flight: of users, and of campaigns."""
    of_users, of_campaigns = {}, {}
    for backlog in backlogs:
        if backlog.room:
            flying = backlog.reserved + got.get(backlog.campaign_id, 0) * backlog.guess
            account = ledger.users[backlog.user]
            before = of_users.get(backlog.user, account.time)
            of_users[backlog.user] = before + flying / account.weight
            of_campaigns[backlog.campaign_id] = ledger.campaigns[backlog.campaign_id].time + flying / backlog.share
    return of_users, of_campaigns


@given(situations(), places)
def test_who_got_something_was_behind_whoever_could_have_had_it(situation, jobs):
    """But for first jobs, nobody gets a place while somebody with room is further behind."""
    ledger, backlogs = situation
    backlogs = [dataclasses.replace(backlog, live=max(1, backlog.live)) for backlog in backlogs]
    got = dealt(ledger, backlogs, jobs)
    of_users, of_campaigns = times(ledger, backlogs, got)
    for rich in (backlog for backlog in backlogs if backlog.campaign_id in got):
        step = max(each.guess for each in backlogs if each.user == rich.user) / ledger.users[rich.user].weight
        for poor in backlogs:
            if poor.room <= got.get(poor.campaign_id, 0):
                continue
            assert of_users[rich.user] - step <= of_users[poor.user] + 1e-6
            if poor.user == rich.user:
                ahead = of_campaigns[rich.campaign_id] - rich.guess / rich.share
                assert ahead <= of_campaigns[poor.campaign_id] + 1e-6


@given(situations(), places, st.randoms(use_true_random=False))
def test_the_order_of_the_campaigns_does_not_matter(situation, jobs, chance):
    ledger, backlogs = situation
    other = Ledger(ledger.time, {**ledger.users}, {**ledger.campaigns})
    other.users = {user: dataclasses.replace(account) for user, account in ledger.users.items()}
    other.campaigns = {number: dataclasses.replace(account) for number, account in ledger.campaigns.items()}
    shuffled = list(backlogs)
    chance.shuffle(shuffled)
    assert share(other, shuffled, jobs) == share(ledger, backlogs, jobs)


@given(situations(), places)
def test_virtual_time_never_goes_back(situation, jobs):
    ledger, backlogs = situation
    before, inner = ledger.time, {user: account.inner for user, account in ledger.users.items()}
    share(ledger, backlogs, jobs)
    assert ledger.time >= before
    assert all(ledger.users[user].inner >= time for user, time in inner.items())


def test_one_user_with_many_campaigns_is_one_user():
    many = [Backlog(number, "alice", 100, 0) for number in range(1, 10)]
    assert dealt(Ledger(), [*many, Backlog(10, "bob", 100, 0)], 20)[10] == 10


def test_what_others_cannot_use_goes_to_who_can():
    assert share(Ledger(), [Backlog(1, "alice", 3, 0), Backlog(2, "bob", 100, 0)], 50) == [Grant(1, 3), Grant(2, 47)]


def test_a_priority_of_one_is_twice_the_share_and_nobody_is_left_out():
    """K6."""
    heavy, light = Backlog(1, "alice", 100, 0, weight=2.0), Backlog(2, "bob", 100, 0)
    assert dealt(Ledger(), [heavy, light], 30) == {1: 20, 2: 10}
    full = [Backlog(1, "alice", 100, 8, weight=16.0), Backlog(2, "bob", 100, 0, weight=1 / 16)]
    assert share(Ledger(), full, 1) == [Grant(2, 1)], "who has nothing there comes first, whatever the priority"


def test_campaigns_share_what_their_user_gets_by_their_weights():
    mine = [Backlog(1, "alice", 100, 0, share=3.0), Backlog(2, "alice", 100, 0)]
    assert dealt(Ledger(), [*mine, Backlog(3, "bob", 100, 0)], 40) == {1: 15, 2: 5, 3: 20}


def test_time_counts_not_jobs():
    """Jobs ten times as long: a tenth as many."""
    long, short = Backlog(1, "alice", 1000, 0, guess=100.0), Backlog(2, "bob", 1000, 0, guess=10.0)
    assert dealt(Ledger(), [long, short], 110) == {1: 10, 2: 100}


def test_what_was_used_counts_against_who_used_it():
    ledger = Ledger()
    both = [Backlog(1, "alice", 100, 1), Backlog(2, "bob", 100, 1)]
    share(ledger, both, 0)
    ledger.charge(Charge(1, "alice", 10.0))
    assert share(ledger, both, 9) == [Grant(2, 9)]
    assert ledger.users["alice"].time == 10.0 and ledger.users["alice"].recent == 10.0


def test_who_comes_late_starts_level_with_what_the_others_have_used():
    """What they have in flight and have not used yet is still theirs to be served: the latecomer gets as much first."""
    ledger = Ledger()
    early = Backlog(1, "alice", 10**6, 10)
    share(ledger, [early], 0)
    ledger.charge(Charge(1, "alice", 10.0))
    ledger.users["alice"].recent = 0.0
    assert dealt(ledger, [early, Backlog(2, "bob", 10**6, 0)], 30) == {1: 10, 2: 20}
    assert ledger.time == 10.0 and ledger.users["bob"].time == 10.0


def test_what_was_expected_too_long_costs_latecomers_nothing():
    """A thousand jobs that may last an hour, and last a minute: whoever comes while they run has its share at once."""
    ledger = Ledger()
    first = Backlog(1, "alice", 10**6, 0, guess=3600.0, longest=3600.0)
    assert dealt(ledger, [first], 1000) == {1: 1000}
    running = dataclasses.replace(first, live=1000, spent=30_000.0)
    assert dealt(ledger, [running, Backlog(2, "bob", 10**6, 0, guess=3600.0, longest=3600.0)], 0) == {}
    assert ledger.users["bob"].time == 30_000.0
    ledger.charge(Charge(1, "alice", 60_000.0))
    ledger.users["alice"].recent = 0.0
    both = [Backlog(1, "alice", 10**6, 0, guess=60.0, longest=3600.0)]
    both += [Backlog(2, "bob", 10**6, 0, guess=3600.0, longest=3600.0)]
    got = dealt(ledger, both, 1000)
    assert got[2] * 3600 == pytest.approx(got[1] * 60 + 30_000, abs=3660), "alike since bob is there"


def test_when_nobody_was_left_waiting_all_begin_level():
    ledger = Ledger()
    assert dealt(ledger, [Backlog(1, "alice", 1, 0), Backlog(2, "bob", 50, 0)], 99) == {1: 1, 2: 50}
    ledger.charge(Charge(1, "alice", 1.0))
    ledger.charge(Charge(2, "bob", 5000.0))
    for account in ledger.users.values():
        account.recent = 0.0
    share(ledger, [Backlog(1, "alice", 1, 0), Backlog(2, "bob", 50, 0)], 99)
    three = [Backlog(1, "alice", 50, 0), Backlog(2, "bob", 50, 0), Backlog(3, "carol", 50, 0)]
    assert dealt(ledger, three, 30) == {1: 10, 2: 10, 3: 10}


def test_who_was_away_has_saved_no_credit():
    ledger = Ledger(1000.0, {"bob": UserAccount(0.0), "alice": UserAccount(1000.0, True)}, {2: Account(0.0)})
    ledger.users["bob"].inner = 500.0
    both = [Backlog(1, "alice", 99, 1), Backlog(2, "bob", 99, 1), Backlog(3, "bob", 99, 1)]
    assert dealt(ledger, both, 9) == {1: 5, 2: 2, 3: 2}
    assert ledger.users["bob"].time == 1000.0 and ledger.campaigns[2].time == 500.0


def test_jobs_that_may_last_for_long_and_do_not_save_no_credit_either():
    """Away with jobs in flight of which much is expected, and nothing comes of it."""
    ledger = Ledger(1000.0, {"bob": UserAccount(0.0), "alice": UserAccount(1000.0, True)})
    share(ledger, [Backlog(1, "alice", 99, 1), Backlog(2, "bob", 99, 1, guess=1e6)], 1)
    assert ledger.users["bob"].time == 1000.0


def test_who_was_away_and_had_been_far_ahead_is_not_held_back_for_ever():
    ledger = Ledger(users={"alice": UserAccount(1e9)}, campaigns={1: Account(1e9)})
    share(ledger, [Backlog(1, "alice", 99, 1), Backlog(2, "bob", 99, 1)], 8)
    assert ledger.users["alice"].time == ledger.campaigns[1].time == 2 * (10 + 1) * 1.0


def test_what_is_forgiven_counts_at_once():
    """A place out of its turn puts nobody far ahead: neither in the ledger nor for the rest of the deal."""
    users = {"alice": UserAccount(480.0, True), "bob": UserAccount(10.0, True)}
    ledger = Ledger(10.0, users, {number: Account(0.0, True) for number in range(1, 6)})
    busy = [Backlog(number, "alice", 9, 1, longest=4.0) for number in range(1, 5)]
    share(ledger, [*busy, Backlog(5, "alice", 9, 0), Backlog(6, "bob", 1, 1, longest=4.0)], 3)
    assert ledger.users["alice"].time == 10.0 + 2 * 9 * 4.0


def test_a_job_that_runs_for_long_counts_for_what_it_has_used():
    long = Backlog(1, "alice", 100, 1, guess=1.0, spent=20.0)
    assert dealt(Ledger(users={"alice": UserAccount(0, True), "bob": UserAccount(0, True)}), [
        long, Backlog(2, "bob", 100, 1)], 10) == {2: 10}  # fmt: skip


def test_jobs_of_campaigns_that_are_paused_count_for_their_user():
    both = [Backlog(1, "alice", 100, 1), Backlog(2, "bob", 100, 1)]
    known = Ledger(users={"alice": UserAccount(0, True), "bob": UserAccount(0, True)})
    assert dealt(known, both, 10, Others({"alice": 20.0}, 20)) == {2: 10}


@pytest.mark.parametrize(("slots", "ahead"), [(1, 1), (7, 1), (8, 1), (16, 2), (800, 100)])
def test_few_slots_are_for_what_goes_ahead(slots, ahead):
    assert slots_ahead(slots) == ahead


def test_test_mode_goes_ahead_on_few_slots():
    trials = [Backlog(number, f"user{number}", 5, 0, 1, urgent=True) for number in range(1, 30)]
    busy = Backlog(99, "zoe", 10**4, 12)
    behind = Ledger(users={"zoe": UserAccount(-100.0, True)})
    assert dealt(behind, [busy, *trials], 4) == {1: 1, 10: 1, 99: 2} and slots_ahead(16) == 2
    assert dealt(behind, [busy, *trials], 4, Others(ahead=2)) == {99: 4}


def test_a_user_has_one_job_in_test_mode_ahead_at_a_time():
    mine = [Backlog(1, "alice", 5, 1, 1, urgent=True), Backlog(2, "alice", 5, 0, 1, urgent=True)]
    behind = Ledger(users={"zoe": UserAccount(-100.0, True)})
    assert share(behind, [*mine, Backlog(3, "zoe", 90, 90)], 0) == []
    got = share(behind, [*mine, *(Backlog(number, "zoe", 90, 90) for number in (3, 4))], 1, Others(ahead=1))
    assert got == [Grant(2, 1)], "there is a slot for each: it has none yet"


def test_on_a_small_cluster_test_mode_does_not_take_it_all():
    """One slot: who is tried out has its turn first, then waits for the others'."""
    ledger, got = Ledger(), Counter()
    assert AHEAD_SHARE > 1
    for _ in range(100):
        (grant,) = share(ledger, [Backlog(1, "alice", 99, 0), Backlog(2, "bob", 99, 0, 1, urgent=True)], 1)
        got[grant.campaign_id] += 1
        ledger.charge(Charge(grant.campaign_id, {1: "alice", 2: "bob"}[grant.campaign_id], 1.0))
    assert 40 <= got[1] <= 60


def test_prologues_are_launched_users_in_turn():
    waiting = [(0, "alice"), (1, "alice"), (2, "bob"), (3, "alice"), (4, "carol")]
    assert by_turns(waiting, {}, 4) == [0, 2, 4, 1]
    assert by_turns(waiting, {"bob": 1}, 3) == [0, 4, 1]
    assert by_turns(waiting, {}, -1) == []


def test_recent_use_bends_weights_from_2_to_a_half():
    assert use_factors({}, {"a": 1.0}) == {"a": 1.0}
    assert use_factors({"a": 5.0}, {"a": 1.0, "b": 1.0}) == {"a": 0.5, "b": 2.0}
    assert use_factors({"a": 2.0, "b": 1.0}, {"a": 2.0, "b": 1.0}) == {"a": 1.0, "b": 1.0}
    assert use_factors({"away": 1e9, "a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0}) == {"a": 1.0, "b": 1.0}


@given(st.dictionaries(users, st.floats(0, 1e12)), st.dictionaries(users, st.sampled_from([1 / 16, 1.0, 16.0])))
def test_the_factor_of_use_is_bounded_and_falls_with_use(recent, fixed):
    factors = use_factors(recent, fixed)
    assert all(0.5 <= factor <= 2 for factor in factors.values())
    for more, less in ((a, b) for a in fixed for b in fixed if fixed[a] == fixed[b]):
        if recent.get(more, 0.0) >= recent.get(less, 0.0):
            assert factors[more] <= factors[less]


def test_charges():
    assert charged(100.0, preempted=False, preempted_charge=0.0) == 100.0
    assert charged(100.0, preempted=True, preempted_charge=0.25) == 25.0
    assert charged(0.0, preempted=True, preempted_charge=0.0) == 1.0
    assert guess(0, 0.0, 3600.0) == 3600.0 and guess(4, 40.0, 3600.0) == 10.0 and guess(1, 0.1, 60.0) == 1.0


def test_nothing_for_nobody():
    assert share(Ledger(), [], 10) == [] and share(Ledger(), [Backlog(1, "alice", 10, 5, max_jobs=5)], 10) == []


def test_large_jobs_take_more_places():
    """And are not passed by for ever because they are large: the last one may take more than is left."""
    large, small = Backlog(1, "alice", 99, 1, places=16.0, guess=16.0), Backlog(2, "bob", 99, 1)
    assert share(Ledger(), [large], 100) == [Grant(1, 7)]
    assert dealt(Ledger(), [large, small], 64) == {1: 2, 2: 32}
    assert share(Ledger(), [large], 1) == [Grant(1, 1)] and share(Ledger(), [large], 0) == []
