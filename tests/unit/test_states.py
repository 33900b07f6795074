"""The tables of states, walked: every state is reached, none is a trap, final means final."""

from __future__ import annotations

import pytest

from cigri.core import states
from cigri.core.states import CampaignState, JobState, TaskState

JOB_STARTS = {JobState.TO_LAUNCH, JobState.LAUNCHING}
TABLES = [
    pytest.param(states.JOB_MOVES, JobState, JOB_STARTS, states.FINAL, id="jobs"),
    pytest.param(states.TASK_MOVES, TaskState, {TaskState.PENDING}, {TaskState.DONE}, id="tasks"),
    pytest.param(
        states.CAMPAIGN_MOVES,
        CampaignState,
        {CampaignState.IN_TREATMENT},
        {CampaignState.CANCELLED, CampaignState.TERMINATED},
        id="campaigns",
    ),
]


def reached(moves, start):
    """All states that can follow, the first ones included."""
    seen, left = set(start), list(start)
    while left:
        new = moves[left.pop()] - seen
        seen |= new
        left += new
    return seen


@pytest.mark.parametrize(("moves", "words", "starts", "ends"), TABLES)
def test_the_table_is_whole(moves, words, starts, ends):
    assert set(moves) == set(words)
    assert all(target in words for targets in moves.values() for target in targets)
    assert all(source not in targets for source, targets in moves.items())


@pytest.mark.parametrize(("moves", "words", "starts", "ends"), TABLES)
def test_every_state_is_reached(moves, words, starts, ends):
    assert reached(moves, starts) == set(words)


@pytest.mark.parametrize(("moves", "words", "starts", "ends"), TABLES)
def test_no_state_is_a_trap(moves, words, starts, ends):
    for state in words:
        assert reached(moves, {state}) & set(ends), state


@pytest.mark.parametrize(("moves", "words", "starts", "ends"), TABLES)
def test_only_ends_have_no_way_out(moves, words, starts, ends):
    assert {state for state, targets in moves.items() if not targets} <= set(ends)


def test_finals_are_final():
    assert not any(states.JOB_MOVES[state] for state in states.FINAL)
    assert not states.TASK_MOVES[TaskState.DONE]
    assert not states.CAMPAIGN_MOVES[CampaignState.CANCELLED]


def test_only_adding_tasks_leads_out_of_terminated():
    assert states.CAMPAIGN_MOVES[CampaignState.TERMINATED] == {CampaignState.IN_TREATMENT}


def test_sets_of_states_fit_together():
    assert set(JobState) == states.LIVE | states.FINAL and not states.LIVE & states.FINAL
    assert states.FOLLOWED == states.LIVE - JOB_STARTS
    assert JobState.RUNNING not in states.QUEUED and states.QUEUED < states.LIVE


@pytest.mark.parametrize("state", sorted(states.FOLLOWED))
def test_whatever_the_cluster_has_can_end_at_once(state):
    """A short job may have ended before it was ever seen running."""
    assert states.JOB_MOVES[state] >= states.FINAL


def test_success_counts_wherever_the_task_is():
    assert all(TaskState.DONE in states.TASK_MOVES[state] for state in TaskState if state is not TaskState.DONE)
