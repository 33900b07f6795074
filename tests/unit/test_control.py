"""How many jobs a cluster is sent: bounds, and which way each measure pushes."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cigri.core.control import HORIZON, LEAST_QUEUE, Load, order, queue_reference

counts = st.integers(0, 5000)


@st.composite
def loads(draw, free=counts):
    live = draw(counts)
    running = draw(st.integers(0, live))
    return Load(live, running, draw(free), draw(counts), draw(st.floats(0, 100)))


limits = st.integers(0, 500)
unknown = loads(free=st.none())


@given(loads() | unknown, limits)
def test_never_negative(load, limit):
    assert order(load, limit) >= 0


@given(loads(), limits)
def test_what_waits_there_stays_below_the_free_resources_and_the_limit(load, limit):
    waiting = load.live - load.running
    sent = order(load, limit)
    assert sent == 0 or waiting + sent <= load.free + limit


@given(unknown, limits)
def test_uncounted_resources_get_a_short_queue_only(load, limit):
    assert load.live - load.running + order(load, limit) <= max(load.live - load.running, limit)


@given(loads(), limits, st.integers(1, 100))
def test_more_free_resources_never_mean_fewer_jobs(load, limit, more):
    assert order(dataclasses.replace(load, free=load.free + more), limit) >= order(load, limit)


@given(loads() | unknown, limits, st.integers(1, 100))
def test_more_waiting_jobs_never_mean_more_new_ones(load, limit, more):
    assert order(dataclasses.replace(load, live=load.live + more), limit) <= order(load, limit)


@given(loads() | unknown, limits, st.floats(0, 100))
def test_a_faster_cluster_never_gets_fewer(load, limit, faster):
    assert order(dataclasses.replace(load, rate=load.rate + faster), limit) >= order(load, limit)


@given(loads() | unknown, limits, st.integers(1, 100))
def test_a_higher_limit_never_means_fewer(load, limit, more):
    assert order(load, limit + more) >= order(load, limit)


@given(loads(), st.integers(LEAST_QUEUE, 500))
def test_free_resources_do_not_stay_free(load, limit):
    """Whoever has free resources and nothing new there gets at least one job for each."""
    fresh = dataclasses.replace(load, live=load.running, running_then=load.running)
    assert order(fresh, limit) >= fresh.free


@given(st.integers(0, 500), st.floats(0, 1000))
def test_the_queue_is_long_enough_for_what_ends_before_the_next_round(limit, rate):
    wanted = queue_reference(Load(0, 0, 0, 0, rate), limit)
    assert wanted <= limit
    assert wanted == limit or wanted >= max(LEAST_QUEUE, rate * HORIZON)


@pytest.mark.parametrize(
    ("load", "limit", "sent"),
    [
        (Load(0, 0, 8, 0, 0.0), 50, 10),  # an idle cluster: its resources and the least queue
        (Load(0, 0, None, 0, 0.0), 50, 2),  # never counted: carefully
        (Load(10, 8, 0, 8, 0.0), 50, 0),  # full, and the queue is as it should be
        (Load(9, 8, 0, 8, 0.0), 50, 1),  # full, one place in the queue
        (Load(8, 8, 8, 0, 0.0), 50, 2),  # the count is old: what runs now was free then
        (Load(0, 0, 0, 0, 3.0), 50, 30),  # full of others' jobs, but quick
        (Load(0, 0, 0, 0, 30.0), 50, 50),  # never more than the limit
        (Load(0, 0, 8, 0, 0.0), 0, 8),  # no queue wanted
    ],
)
def test_examples(load, limit, sent):
    assert order(load, limit) == sent
