"""What the sweep does about each job that it sees: the whole table."""

from __future__ import annotations

import itertools

import pytest

from cigri.core.settling import Sighting
from cigri.core.states import FINAL, JobState, SubmissionState, TaskState
from cigri.core.sweeping import Action, Known, judge

ALIVE = Sighting(7, 100)
FAILED = Sighting(7, 100, ended=True)
SUCCEEDED = Sighting(7, 100, ended=True, succeeded=True)
SEEN = [ALIVE, FAILED, SUCCEEDED]

# Every combination of what may be known of a submission, a key and its task.
EVERYTHING = [
    (Known(submission, job, ids, task), seen)
    for submission, job, ids, task, seen in itertools.product(
        [None, *SubmissionState], [None, *JobState], [(), (7,), (8, 7), (8,)], [None, *TaskState], SEEN
    )
]
EXAMPLES = {
    "a name that nobody here knows, alive": (Known(), ALIVE, Action.DELETE),
    "a name that nobody here knows, ended": (Known(), SUCCEEDED, Action.LEAVE),
    "still being looked up": (Known(SubmissionState.SENDING, JobState.LAUNCHING), ALIVE, Action.LEAVE),
    "followed": (Known(SubmissionState.SETTLED, JobState.RUNNING, (7,), TaskState.ACTIVE), ALIVE, Action.LEAVE),
    "followed, its end not yet seen by the runner": (
        Known(SubmissionState.SETTLED, JobState.RUNNING, (7,), TaskState.ACTIVE), SUCCEEDED, Action.LEAVE,
    ),
    "an older id of a followed chain": (
        Known(SubmissionState.SETTLED, JobState.RUNNING, (8, 7), TaskState.ACTIVE), FAILED, Action.LEAVE,
    ),
    "restarted by the cluster, the runner has not seen it yet": (
        Known(SubmissionState.SETTLED, JobState.RUNNING, (6,), TaskState.ACTIVE), Sighting(7, 100, 6), Action.LEAVE,
    ),
    "a second copy of a followed job": (
        Known(SubmissionState.SETTLED, JobState.RUNNING, (6,), TaskState.ACTIVE), ALIVE, Action.DELETE,
    ),
    "arrived after it was taken as absent": (
        Known(SubmissionState.VOID, None, (), TaskState.PENDING), ALIVE, Action.DELETE,
    ),
    "arrived late and succeeded": (Known(SubmissionState.VOID, None, (), TaskState.ACTIVE), SUCCEEDED, Action.COUNT),
    "arrived late and succeeded, the other try too": (
        Known(SubmissionState.VOID, None, (), TaskState.DONE), SUCCEEDED, Action.DUPLICATE,
    ),
    "arrived late and failed": (Known(SubmissionState.VOID, None, (), TaskState.PENDING), FAILED, Action.LEAVE),
    "given up as lost, and it lives": (
        Known(SubmissionState.SETTLED, JobState.EVENT, (7,), TaskState.FAILED), ALIVE, Action.DELETE,
    ),
    "given up as lost, and it succeeded": (
        Known(SubmissionState.SETTLED, JobState.EVENT, (7,), TaskState.FAILED), SUCCEEDED, Action.COUNT,
    ),
    "cancelled, and it succeeded": (
        Known(SubmissionState.SETTLED, JobState.EVENT, (7,), TaskState.CANCELLED), SUCCEEDED, Action.COUNT,
    ),
    "the success that was counted": (
        Known(SubmissionState.SETTLED, JobState.TERMINATED, (7,), TaskState.DONE), SUCCEEDED, Action.LEAVE,
    ),
    "a second success under the same key": (
        Known(SubmissionState.SETTLED, JobState.TERMINATED, (6,), TaskState.DONE), SUCCEEDED, Action.DUPLICATE,
    ),
    "an older id of the chain, which had succeeded before the one that was counted": (
        Known(SubmissionState.SETTLED, JobState.TERMINATED, (8, 7), TaskState.DONE), SUCCEEDED, Action.DUPLICATE,
    ),
    "restarted by the cluster after it had succeeded": (
        Known(SubmissionState.SETTLED, JobState.TERMINATED, (6,), TaskState.DONE), Sighting(7, 100, 6), Action.DELETE,
    ),
    "refused, and yet there": (
        Known(SubmissionState.REFUSED, JobState.EVENT, (), TaskState.PENDING), ALIVE, Action.DELETE,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("known", "seen", "action"), EXAMPLES.values(), ids=EXAMPLES)
def test_examples(known, seen, action):
    assert judge(known, seen) is action


def test_what_is_being_looked_up_is_left_to_the_runner():
    assert {judge(known, seen) for known, seen in EVERYTHING if known.submission is SubmissionState.SENDING} == {
        Action.LEAVE
    }


def test_own_live_jobs_are_the_runners():
    for known, seen in EVERYTHING:
        if known.job is not None and known.job not in FINAL and seen.id in known.remote_ids:
            assert judge(known, seen) is Action.LEAVE


def test_only_what_lives_is_deleted_and_only_success_is_counted():
    for known, seen in EVERYTHING:
        action = judge(known, seen)
        assert action is not Action.DELETE or not seen.ended
        assert action not in (Action.COUNT, Action.DUPLICATE) or seen.succeeded


def test_what_nobody_follows_never_lives_on():
    for known, seen in EVERYTHING:
        if not seen.ended and known.submission is not SubmissionState.SENDING and known.job in (None, *FINAL):
            assert judge(known, seen) is Action.DELETE


def test_a_task_is_counted_unless_it_is_done_already():
    for known, seen in EVERYTHING:
        if judge(known, seen) is Action.COUNT:
            assert known.task not in (None, TaskState.DONE)
        if judge(known, seen) is Action.DUPLICATE:
            assert known.task is TaskState.DONE
