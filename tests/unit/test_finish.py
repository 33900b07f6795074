"""The last tasks of a campaign: where they go, and that they go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cigri.core.finish import ELSEWHERE, Place, Speed, durations, elsewhere, limited, near_end, rooms
from cigri.core.outcome import Outcome
from cigri.core.scheduling import Backlog


def place(number, lasts, live=0, places=0, pending=1000):
    return Place(number, float(lasts), live, places, pending)


@pytest.mark.parametrize(
    ("pending", "places", "found"),
    [
        (5, [place(1, 60, places=10), place(2, 600, places=10)], {1: 5, 2: 0}),  # the quick one has room for all
        (20, [place(1, 60, places=1), place(2, 600, places=10)], {1: 20, 2: 10}),  # ten before the slow one ends one
        (5, [place(1, 60, live=10), place(2, 100, places=10)], {1: 5, 2: 0}),  # its slots are free again soon enough
        (5, [place(1, 60, live=1), place(2, 61, places=10)], {1: 5, 2: 5}),  # they are not
        (1000, [place(1, 60, places=10), place(2, 600, places=10)], {1: 1000, 2: 900}),  # plenty for both
        (5, [place(1, 60, places=2), place(2, 60, places=2)], {1: 5, 2: 5}),  # equals share
        (5, [place(2, 600, places=1)], {2: 5}),
        (1, [place(1, 60, live=9, places=9, pending=0), place(2, 600, places=1)], {1: 1, 2: 1}),  # it may not go there
        (5, [place(1, 60, places=9, pending=3), place(2, 600, places=9)], {1: 5, 2: 2}),
    ],
)
def test_where_the_last_tasks_go(pending, places, found):
    assert rooms(pending, places) == found


places = st.lists(
    st.builds(Place, st.integers(1, 99), st.floats(1, 1e5), st.integers(0, 50), st.integers(0, 50),
              st.integers(0, 1000)),
    min_size=1, max_size=8, unique_by=lambda each: each.cluster_id,
)  # fmt: skip


@given(st.integers(1, 1000), places)
def test_the_quickest_may_take_all_and_no_slower_one_more_than_a_quicker(pending, found):
    room = rooms(pending, found)
    by_speed = [room[each.cluster_id] for each in sorted(found, key=lambda each: each.lasts)]
    assert by_speed[0] == pending and all(0 <= each <= pending for each in by_speed)
    assert by_speed == sorted(by_speed, reverse=True)


@given(st.integers(1, 1000), places)
def test_a_task_that_a_cluster_is_refused_ends_on_a_quicker_one_before(pending, found):
    room = rooms(pending, found)
    for slow in found:
        if room[slow.cluster_id] < pending:
            quicker = [each for each in found if each.lasts < slow.lasts]
            assert sum(each.until(slow.lasts) for each in quicker) >= pending - room[slow.cluster_id]


def test_a_cluster_that_nobody_knows_is_judged_by_its_power():
    known = {1: Speed(10, 1000.0, 2.0), 2: Speed(0, 0.0, 1.0), 3: Speed(10, 4000.0, 1.0)}
    assert durations(known) == {1: 100.0, 2: 300.0, 3: 400.0}
    assert durations({1: Speed(0, 0.0, 1.0)}) == {}


def bag(number, pending, live=0):
    return Backlog(number, "alice", pending, live)


def test_which_campaigns_are_near_their_end():
    backlogs = {1: [bag(7, 30), bag(8, 5000)], 2: [bag(7, 30), bag(8, 5000)], 3: [bag(9, 2)]}
    assert near_end(backlogs, {1: 10, 2: 10, 3: 9}, {}) == {7}, "8 has plenty, 9 one cluster only"
    assert near_end(backlogs, {1: 2, 2: 2, 3: 2}, {}) == set()
    assert near_end({1: [bag(7, 30)]}, {1: 2}, {1: {7: 3}, 2: {7: 10}}) == {7}


def test_the_backlogs_of_slow_clusters_are_cut():
    backlogs = {1: [bag(7, 6), bag(8, 5000)], 2: [bag(7, 6)]}
    speeds = {7: {1: Speed(5, 300.0, 1.0), 2: Speed(5, 3000.0, 1.0)}}
    cut = limited(backlogs, {1: 12, 2: 10}, {}, speeds)
    assert [each.pending for each in cut[1]] == [6, 5000] and [each.pending for each in cut[2]] == [0]
    assert limited(backlogs, {1: 12, 2: 10}, {}, {7: dict.fromkeys((1, 2), Speed(0, 0.0, 1.0))}) == backlogs, (
        "nothing is known"
    )
    busy = limited({2: [bag(7, 6)]}, {2: 10}, {1: {7: 3}}, speeds)
    assert busy[2][0].pending == 0, "three slots elsewhere end 27 more before one ends here"


def test_a_cluster_that_the_last_task_may_not_go_to_keeps_nobody_from_it():
    """It failed on the quick cluster, which has jobs and places: the slow one gets it at once."""
    speeds = {7: {1: Speed(5, 300.0, 1.0, elsewhere=1), 2: Speed(5, 3000.0, 1.0)}}
    cut = limited({1: [bag(7, 0, 3)], 2: [bag(7, 1)]}, {1: 12, 2: 10}, {1: {7: 3}}, speeds)
    assert cut[1][0].pending == 0 and cut[2][0].pending == 1
    full = limited({2: [bag(7, 1)]}, {2: 10}, {1: {7: 3}}, speeds)
    assert full[2][0].pending == 1, "also when it takes nothing more just now"


def test_a_cluster_that_may_take_no_more_of_a_campaign_keeps_nobody_from_it():
    """Two jobs at a time on the quick one: the slow one takes what these two will not have ended before it."""
    speeds = {7: {1: Speed(5, 300.0, 1.0), 2: Speed(5, 600.0, 1.0)}}
    quick = Backlog(7, "alice", 98, 2, max_jobs=2)
    cut = limited({1: [quick], 2: [bag(7, 98)]}, {1: 100, 2: 100}, {1: {7: 2}}, speeds)
    assert cut[2][0].pending == 98 - 2
    assert near_end({1: [quick], 2: [bag(7, 98)]}, {1: 100, 2: 5}, {1: {7: 2}}) == set()


def test_only_failures_that_another_cluster_may_avoid_are_left_to_it():
    """E22."""
    assert elsewhere(Outcome.WALLTIME, others=True) == elsewhere(Outcome.EXIT, others=True) == ELSEWHERE
    assert elsewhere(Outcome.EXIT, others=False) == 0.0
    assert elsewhere(Outcome.PREEMPTED, others=True) == elsewhere(Outcome.SUCCESS, others=True) == 0.0
