"""How many jobs a cluster is sent: bounds, and which way each measure pushes."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cigri.core.control import (
    LEAST_QUEUE,
    LONGEST_DELAY,
    LONGEST_WAIT,
    SAFE_QUEUE,
    Limits,
    Load,
    delay,
    order,
    queue_reference,
    slots,
    start_delay,
    unqueued,
)

counts = st.integers(0, 5000)


@st.composite
def loads(draw, free=counts):
    running, waiting, others = draw(counts), draw(counts), draw(st.integers(0, 50))
    live = running + waiting + others
    return Load(live, running, draw(free), draw(counts), draw(st.floats(0, 100)), waiting, draw(st.floats(0, 120)))


limits = st.integers(1, 500).map(Limits)
capped = st.builds(Limits, st.integers(1, 500), st.none() | st.integers(1, 5000), st.none() | st.integers(1, 500))
unknown = loads(free=st.none())


@given(loads() | unknown, capped, counts)
def test_the_administrators_limits_hold_and_nothing_is_negative(load, limit, lately):
    sent = order(load, limit, lately)
    assert sent >= 0
    if sent:
        assert limit.max_jobs is None or load.live + sent <= limit.max_jobs
        assert limit.max_per_minute is None or lately + sent <= limit.max_per_minute


@given(loads(), limits)
def test_what_waits_there_stays_below_the_free_resources_and_the_limit(load, limit):
    sent = order(load, limit)
    assert sent == 0 or load.waiting + sent <= load.free + limit.max_waiting


@given(unknown, limits)
def test_uncounted_resources_get_a_short_queue_only(load, limit):
    assert load.waiting + order(load, limit) <= max(load.waiting, SAFE_QUEUE)


@given(loads(), limits, st.integers(1, 100))
def test_more_free_resources_never_mean_fewer_jobs(load, limit, more):
    assert order(dataclasses.replace(load, free=load.free + more), limit) >= order(load, limit)


@given(loads() | unknown, limits, st.integers(1, 100))
def test_more_waiting_jobs_never_mean_more_new_ones(load, limit, more):
    assert order(dataclasses.replace(load, waiting=load.waiting + more), limit) <= order(load, limit)


@given(loads(), limits, st.floats(0, 100), st.floats(0, 100))
def test_a_faster_cluster_or_a_slower_loop_never_gets_fewer(load, limit, faster, slower):
    quick = dataclasses.replace(load, rate=load.rate + faster, delay=load.delay + slower)
    assert order(quick, limit) >= order(load, limit)


@given(loads() | unknown, limits, st.integers(1, 100))
def test_a_higher_limit_never_means_fewer(load, limit, more):
    assert order(load, dataclasses.replace(limit, max_waiting=limit.max_waiting + more)) >= order(load, limit)


@given(loads(), st.integers(LEAST_QUEUE, 500))
def test_free_resources_do_not_stay_free(load, limit):
    """Whoever has free resources and nothing new there gets at least one job for each."""
    fresh = dataclasses.replace(load, running_then=load.running, waiting=0)
    assert order(fresh, Limits(limit)) >= fresh.free


@given(loads(), limits)
def test_jobs_whose_fate_nobody_knows_do_not_count_as_waiting(load, limit):
    assert order(dataclasses.replace(load, live=load.running + load.waiting), limit) == order(load, limit)


@given(loads(), limits)
def test_what_was_ordered_is_not_ordered_again(load, limit):
    """One step settles it: once the jobs that were ordered are counted, nothing more is wanted."""
    sent = order(load, limit)
    after = dataclasses.replace(load, live=load.live + sent, waiting=load.waiting + sent)
    assert order(after, limit) == 0


@given(loads(), limits, st.integers(0, 500))
def test_a_job_that_starts_changes_nothing(load, limit, number):
    """What starts leaves the queue and takes a free slot, or was counted in neither."""
    number = min(number, load.waiting)
    later = dataclasses.replace(load, running=load.running + number, waiting=load.waiting - number)
    assert later.free + later.running_then - later.running - later.waiting == (
        load.free + load.running_then - load.running - load.waiting
    )
    assert order(later, limit) >= order(load, limit)


@given(st.integers(1, 500), st.floats(0, 1000), st.floats(0, 120))
def test_the_queue_is_long_enough_for_what_ends_before_the_next_can_start(limit, rate, takes):
    wanted = queue_reference(Load(0, 0, 0, 0, rate, 0, takes), limit)
    assert wanted <= limit
    assert wanted == limit or wanted >= max(LEAST_QUEUE, rate * takes)


@pytest.mark.parametrize(
    ("load", "limit", "sent"),
    [
        (Load(0, 0, 8, 0, 0.0), Limits(50), 10),  # an idle cluster: its resources and the least queue
        (Load(0, 0, None, 0, 0.0), Limits(50), 2),  # never counted, or long ago: carefully
        (Load(10, 8, 0, 8, 0.0, 2), Limits(50), 0),  # full, and the queue is as it should be
        (Load(9, 8, 0, 8, 0.0, 1), Limits(50), 1),  # full, one place in the queue
        (Load(8, 8, 8, 0, 0.0), Limits(50), 2),  # the count is old: what runs now was free then
        (Load(0, 0, 0, 0, 3.0), Limits(50), 30),  # full of others' jobs, but quick
        (Load(0, 0, 0, 0, 3.0, 0, 5.0), Limits(50), 15),  # quick, and quickly seen
        (Load(0, 0, 0, 0, 30.0), Limits(50), 50),  # never more than the limit
        (Load(108, 8, 0, 8, 0.0, 0), Limits(50), 2),  # a hundred that nobody knows the fate of are not in its queue
        (Load(5, 5, 50, 5, 0.0), Limits(50, max_jobs=9), 4),
        (Load(0, 0, 50, 0, 0.0), Limits(50, max_per_minute=7), 7),
    ],
)
def test_examples(load, limit, sent):
    assert order(load, limit) == sent


def test_the_limit_of_a_minute_counts_what_was_sent():
    assert order(Load(0, 0, 50, 0, 0.0), Limits(50, max_per_minute=7), 5) == 2
    assert order(Load(0, 0, 50, 0, 0.0), Limits(50, max_per_minute=7), 9) == 0


def test_slots():
    assert slots(Load(5, 3, 4, 3, 0.0)) == 7 and slots(Load(5, 3, None, 0, 0.0)) == 5 + SAFE_QUEUE


def test_the_delay_of_the_loop_is_the_sum_of_its_parts_and_bounded():
    assert delay(2.0, 1.5, 10.0) == 13.5 and delay(1e9, 0.0, 0.0) == LONGEST_DELAY


def test_only_waits_for_the_cluster_itself_are_learnt():
    assert unqueued([(100.0, 104.0), (100.0, 160.0)], [], 90.0) == [4.0]
    assert unqueued([(100.0, 104.0)], [], 101.0) == [], "another one was in the queue when it came"
    assert unqueued([(100.0, 104.0)], [99.0], 90.0) == [], "another one still is"
    assert unqueued([(100.0, 104.0), (102.0, 108.0)], [103.0], 90.0) == [4.0], "the second found the first"
    assert unqueued([(100.0, 104.0), (104.0, 105.0)], [], 90.0) == [4.0, 1.0]
    assert unqueued([], [], 0.0) == []


def test_the_start_delay_is_learnt_and_bounded():
    known = 10.0
    for _ in range(100):
        known = start_delay(known, [1.0])
    assert known == pytest.approx(2.0, abs=0.01)
    assert start_delay(known, [1e9] * 200) == pytest.approx(2 * LONGEST_WAIT, abs=0.01)
    assert start_delay(7.0, []) == 7.0


def play(load, steps, *, slots, lasts, round_, taken=lambda second: 0):
    """A cluster that starts jobs every `round_` seconds, under the controller once a second: (free, queue) at each."""
    running, queue, seen = [], [], []
    known = start_delay(0.0, [round_ / 2] * 100)
    for second in range(steps):
        ended = sum(end <= second for end in running)
        running = [end for end in running if end > second]
        load = dataclasses.replace(load, rate=load.rate + 0.05 * (ended - load.rate))
        room = max(0, slots - taken(second))
        if second % round_ == 0:
            while queue and len(running) < room:
                queue.pop()
                running.append(second + lasts)
        free = max(0, room - len(running))
        now = dataclasses.replace(
            load, live=len(running) + len(queue), running=len(running), waiting=len(queue), free=free,
            running_then=len(running), delay=delay(1.0, 0.0, known),
        )  # fmt: skip
        queue += [0] * order(now, Limits(1000))
        seen.append((free, len(queue), now.rate))
    return seen


@pytest.mark.parametrize(("slots", "lasts", "round_"), [(64, 10, 5), (200, 60, 10), (1000, 30, 30), (64, 1, 2)])
def test_a_cluster_is_filled_and_stays_so_without_a_long_queue(slots, lasts, round_):
    seen = play(Load(0, 0, 0, 0, 0.0), 40 * round_ + 600, slots=slots, lasts=lasts, round_=round_)
    assert any(free == 0 for free, _, _ in seen[: 3 * round_ + 1]), "filled in three rounds"
    late = seen[-300:]
    waiting = [max(0, queue - free) for free, queue, _ in late]
    ends_in_a_loop = slots / lasts * (round_ + 1)
    assert sum(waiting) / len(waiting) <= LEAST_QUEUE + 2 * ends_in_a_loop
    assert max(waiting) <= LEAST_QUEUE + max(slots, 2 * ends_in_a_loop), "a burst of ends asks for no more than ran"


def test_owners_who_take_their_cores_back_do_not_find_a_growing_queue():
    seen = play(
        Load(0, 0, 0, 0, 0.0), 900, slots=100, lasts=20, round_=5, taken=lambda second: 90 if second > 300 else 0
    )
    assert all(queue <= 12 for _, queue, _ in seen[-200:])
