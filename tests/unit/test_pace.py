"""What is learnt of a cluster's pace from looks at its jobs."""

from __future__ import annotations

import pytest

from cigri.core.control import LONGEST_WAIT
from cigri.core.pace import Pace


def settle(pace, looks, elapsed=2.0, ends=(), starts=(), waiting=(), shift=0.0):
    """The same again and again, each time that much later."""
    for number in range(looks):
        later = number * shift
        moved = [(sent + later, start + later) for sent, start in starts]
        pace.look(elapsed, [end + later for end in ends], moved, [at + later for at in waiting], busy=True)


def test_the_rate_of_ends_and_the_period_of_looks_are_smoothed():
    pace = Pace(0.0, 2.0, 1.0)
    settle(pace, 100, elapsed=4.0, ends=(1.0,) * 8, shift=4.0)
    assert pace.rate == pytest.approx(2.0, abs=0.01) and pace.period == pytest.approx(4.0, abs=0.01)


def test_the_rate_is_known_soon_after_work_begins_and_begins_anew_after_a_rest():
    pace = Pace(0.0, 2.0, 1.0)
    for _ in range(2):
        pace.look(60.0, [], [], [], busy=True)
        assert pace.rate < 0.2
        settle(pace, 5, ends=(1.0,) * 6, shift=2.0)
        assert 1.9 < pace.rate < 3.0, "10 s later: three a second"
        settle(pace, 40, ends=(1.0,) * 6, shift=2.0)
        assert pace.rate == pytest.approx(3.0, abs=0.1)
        settle(pace, 60)
        pace.look(2.0, [], [], [], busy=False)


def test_a_rest_is_not_taken_for_a_slow_look():
    pace = Pace(0.0, 2.0, 1.0)
    pace.look(60.0, [], [], [], busy=True)
    assert pace.period == 2.0, "the first look after nobody knows what"
    pace.look(2.0, [], [], [], busy=False)
    pace.look(300.0, [], [], [], busy=True)
    assert pace.period == 2.0


def test_a_slot_that_had_a_job_to_wait_for_tells_how_quick_the_cluster_is():
    """Slots become free at 1 and 2, the next round is at 5: the queue may be as long as it likes."""
    pace = Pace(0.0, 2.0, 10.0)
    settle(pace, 100, ends=(1.0, 2.0), starts=((-80.0, 5.0), (-80.0, 5.0)), waiting=(-40.0,) * 500, shift=5.0)
    assert pace.start_delay == pytest.approx(7.0, abs=0.5), "twice the mean of 3 and 4"


def test_a_slot_that_had_none_tells_nothing():
    pace = Pace(0.0, 2.0, 10.0)
    settle(pace, 50, ends=(1.0,), shift=10.0)
    pace.look(2.0, [], [(530.0, 531.0)], [], busy=True)
    assert pace.start_delay == pytest.approx(10 + 0.1 * (2 - 10)), "this one found an empty queue and a free slot"


def test_ends_are_remembered_until_their_slots_are_taken():
    pace = Pace(0.0, 2.0, 10.0)
    for round_ in range(100):
        now = 10.0 * round_
        pace.look(2.0, [now + 1.0], [], [now - 50.0], busy=True)
        pace.look(8.0, [], [(now - 50.0, now + 4.0)], [now - 40.0], busy=True)
    assert pace.start_delay == pytest.approx(6.0, abs=0.1)


def test_slots_that_owners_took_are_forgotten():
    pace = Pace(0.0, 2.0, 2.0)
    settle(pace, 20, ends=(1.0, 1.0), starts=((-99.0, 2.0),), waiting=(-90.0,), shift=5.0)
    assert pace.start_delay == pytest.approx(2.0, abs=0.1)
    pace.look(2.0, [], [(-99.0, 102.0 + LONGEST_WAIT)], [-90.0], busy=True)
    pace.look(2.0, [], [(-99.0, 103.0 + LONGEST_WAIT)], [-90.0], busy=True)
    assert pace.start_delay < 2 * LONGEST_WAIT
