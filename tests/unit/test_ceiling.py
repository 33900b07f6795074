"""The outer loop: ceilings follow their load, recover by themselves, and overshoot by little on a model of it."""

from __future__ import annotations

import heapq
import math
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cigri.core.ceiling import FEW, LEAST, STEEPEST, Need, divide, error, room, step, stress_step

LN2 = math.log(2)


@pytest.mark.parametrize(
    ("load", "reference", "off"),
    [(10, 10, 0), (5, 10, LN2), (20, 10, -LN2), (0, 10, STEEPEST), (1e-9, 10, STEEPEST), (1e9, 10, -STEEPEST)],
)
def test_the_error_has_no_unit(load, reference, off):
    assert error(load, reference) == pytest.approx(off)
    assert error(1000 * load, 1000 * reference) == pytest.approx(off)


@pytest.mark.parametrize(
    ("ceiling", "off", "in_flight", "expected"),
    [
        (None, 0.0, None, FEW),  # to begin with
        (100.0, 0.0, 100, 100.0),  # it binds, and the load is right
        (100.4, 0.0, 100, 100.4),  # parts of a job are not lost
        (100.0, 0.0, None, 100.0),  # somebody else had the duty: it stays where it was
        (100.0, 0.0, 60, 60.0),  # it does not bind: it comes down to what is there
        (100.0, 0.0, 0, FEW),  # ... but not below the few that harm nobody
        (5.0, 0.0, 0, 5.0),  # ... unless the load had brought it there
        (100.0, 0.0, 150, 150.0),  # jobs that cannot be called back
        (100.0, LN2, 100, 100 * 2**0.025),  # a quarter of the error in each lag
        (100.0, -LN2, 100, 100 / 2**0.025),
        (1.0, -STEEPEST, 1, LEAST),  # never nothing at all
    ],
)
def test_steps(ceiling, off, in_flight, expected):
    assert step(ceiling, off, in_flight, 10.0, 100.0) == pytest.approx(expected)


def test_a_step_stands_for_a_minute_at_most_and_never_goes_back_in_time():
    assert step(100.0, 1.0, 100, 1e6, 100.0) == step(100.0, 1.0, 100, 60.0, 100.0)
    assert step(100.0, 1.0, 100, -5.0, 100.0) == 100.0


def test_stress_has_no_ceiling_until_it_is_too_high_and_none_after_it():
    assert stress_step(None, 0.1, 500, 10.0, 80.0) is None
    begun = stress_step(None, -0.1, 500, 0.0, 80.0)
    assert begun == 500, "from what is there, without a jump"
    lower = stress_step(begun, -0.1, 500, 10.0, 80.0)
    assert lower is not None and 450 < lower < 500
    assert stress_step(lower, 0.1, 498, 10.0, 80.0) is not None, "it binds"
    assert stress_step(lower, 0.1, 300, 10.0, 80.0) is None
    assert stress_step(lower, -0.1, 300, 10.0, 80.0) is not None
    assert stress_step(lower, 0.1, None, 10.0, 80.0) is not None, "nobody has watched"
    assert stress_step(None, -0.1, None, 0.0, 80.0) == FEW


def test_room():
    assert (room(10.9, 4), room(10.9, 10), room(10.9, 50)) == (6, 0, 0)


needs = st.dictionaries(
    st.integers(1, 5),
    st.builds(Need, st.integers(0, 50), st.integers(-2, 50), st.floats(0.5, 100)),
)


@given(st.integers(0, 120), needs)
def test_places_are_dealt_out_within_what_is_wanted(places, wanted):
    given_ = divide(places, wanted)
    assert given_.keys() == wanted.keys()
    for each, need in wanted.items():
        assert 0 <= given_[each] <= max(0, need.wanted), "never above what the inner loop orders"
    assert sum(given_.values()) == min(places, sum(max(0, need.wanted) for need in wanted.values()))


@given(st.integers(0, 120), needs)
def test_who_gets_a_place_has_no_more_for_its_weight_than_who_wants_one(places, wanted):
    given_ = divide(places, wanted)
    levels = {each: (need.in_flight + given_[each]) / need.weight for each, need in wanted.items()}
    for got in (each for each in wanted if given_[each]):
        for lacks in (each for each, need in wanted.items() if given_[each] < need.wanted):
            assert levels[got] <= (wanted[lacks].in_flight + given_[lacks] + 1) / wanted[lacks].weight + 1e-9


def test_clusters_that_come_later_get_their_part():
    assert divide(20, {1: Need(30, 50), 2: Need(0, 50)}) == {1: 0, 2: 20}
    assert divide(40, {1: Need(30, 50), 2: Need(0, 50)}) == {1: 5, 2: 35}
    assert divide(30, {1: Need(0, 50, 20.0), 2: Need(0, 50, 10.0)}) == {1: 20, 2: 10}


def play(hours, *, lag, delay, lasts, reference, other=lambda second: 0.0, wanted=lambda second: 10**6, believed=None):
    """A load that follows the running jobs, under the ceiling: (load / reference, ceiling, jobs in flight) by second.

    One job is one unit of load; `other` is others' load, `lag` and `delay` seconds; sensors are read every ten.
    """
    chance, running, coming, load, ceiling, reached, seen = random.Random(1), [], [], other(0), None, None, []
    for second in range(round(hours * 3600)):
        while running and running[0] <= second:
            heapq.heappop(running)
        while coming and coming[0] <= second:
            start = heapq.heappop(coming)
            heapq.heappush(running, start + lasts * chance.uniform(0.5, 1.5))
        load += (len(running) + other(second) - load) * (1 - math.exp(-1 / lag))
        there = len(running) + len(coming)
        if second % 10 == 0:
            ceiling = step(ceiling, error(load, reference), reached, 10.0, believed or lag + delay + 10)
            reached = there
        sent = max(0, min(room(ceiling, there), wanted(second) - there))
        for _ in range(sent):
            heapq.heappush(coming, second + delay)
        reached = max(reached, there + sent)
        seen.append((load / reference, ceiling, there + sent))
    return seen


@settings(max_examples=15, deadline=None)
@given(
    lag=st.integers(1, 60),
    delay=st.integers(1, 60),
    lasts=st.integers(300, 3600),
    allowed=st.integers(4 * FEW, 300),
    others=st.floats(0, 2),
)
@example(lag=1, delay=60, lasts=3600, allowed=300, others=0.0)
@example(lag=60, delay=1, lasts=60, allowed=4 * FEW, others=2.0)
def test_a_load_comes_to_its_reference_and_not_far_beyond(lag, delay, lasts, allowed, others):
    """Whatever lag the loop has, if it is believed; however long the jobs, which nobody calls back."""
    reference = allowed * (1 + others)
    settled = 40 * (lag + delay + 10) / 3600
    seen = play(settled + 0.5, lag=lag, delay=delay, lasts=lasts, reference=reference, other=lambda _: others * allowed)
    loads = [load for load, _, _ in seen]
    minutes = [sum(loads[second : second + 60]) / 60 for second in range(0, len(loads) - 59, 60)]
    by_chance = 4 / reference  # jobs wait and end as they like
    assert max(minutes) < 1.1 + by_chance
    assert 0.8 - by_chance < sum(minutes[-30:]) / 30 < 1.1


def test_a_lag_that_is_twice_what_is_believed_does_no_harm():
    seen = play(3, lag=150, delay=20, lasts=120, reference=200, believed=90)
    assert max(load for load, _, _ in seen) < 1.25
    assert all(0.8 < load < 1.2 for load, _, _ in seen[-1000:])


def test_others_who_come_and_go_are_given_way_and_it_recovers():
    seen = play(4, lag=60, delay=10, lasts=60, reference=200, other=lambda s: 180.0 if 3600 < s < 7200 else 0.0)
    assert seen[3500][1] > 150, "before"
    assert all(load < 1.1 and ceiling < 40 for load, ceiling, _ in seen[6600:7200])
    assert seen[-1][1] > 150 and 0.8 < seen[-1][0] < 1.1, "after"


def test_others_who_take_it_all_leave_one_job():
    seen = play(2, lag=60, delay=10, lasts=60, reference=100, other=lambda _: 500.0)
    assert seen[-1][1:] == (LEAST, 1)


def test_a_ceiling_that_did_not_bind_leaves_no_burst_behind():
    """An hour with little to do, then very much: the load is no higher than in a first ramp."""
    seen = play(3, lag=60, delay=10, lasts=600, reference=200, wanted=lambda s: 15 if s < 3600 else 10**6)
    assert seen[3599][1] < 30
    assert max(load for load, _, _ in seen) < 1.1 and seen[-1][0] > 0.8
