"""Several submissions in one round: the next is claimed while one is under way, and goes back when it is not sent."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from cigri.core.states import JobState, SubmissionState
from cigri.db.tables import Job, Submission

SETTLED, SENDING, REFUSED, VOID = (
    SubmissionState.SETTLED,
    SubmissionState.SENDING,
    SubmissionState.REFUSED,
    SubmissionState.VOID,
)


@pytest.fixture
def by_twos(grid):
    """A grid that sends two jobs at a time."""
    grid.settings = dataclasses.replace(grid.settings, runner_chunk=2)
    return grid


def fates(grid):
    return [each.state for each in grid.rows(Submission)]


def there(grid):
    """The jobs of this grid on the cluster, whatever others left there."""
    names = {each.name for each in grid.rows(Submission)}
    return [job for job in grid.remote() if job["name"] in names]


def send(grid, tasks=6, exec_file="sleep 30; true"):
    grid.updater.cycle()  # how many slots are free
    campaign = grid.campaign([f"t{number}" for number in range(tasks)], exec_file)
    grid.metascheduler.cycle()
    grid.runner.cycle()
    return campaign


def test_all_that_is_allowed_is_sent_in_one_round(by_twos) -> None:
    campaign = send(by_twos)
    assert fates(by_twos) == [SETTLED] * 3
    assert by_twos.tasks(campaign) == {"active": 6}
    assert len(there(by_twos)) == 6
    assert [job.task_id for job in by_twos.rows(Job)] == sorted(job.task_id for job in by_twos.rows(Job))
    by_twos.balanced()


def test_when_an_answer_is_lost_the_next_was_never_sent(by_twos) -> None:
    by_twos.lose("close", "after")
    campaign = send(by_twos)
    assert fates(by_twos) == [SENDING, VOID]
    assert by_twos.rows(Submission)[1].message == "it was not sent after all"
    assert by_twos.tasks(campaign) == {"active": 2, "pending": 4}
    assert len(there(by_twos)) == 2
    by_twos.until(lambda: by_twos.tasks(campaign) == {"active": 6})
    assert Counter(job.task_id for job in by_twos.rows(Job)).most_common(1)[0][1] == 1
    assert len(there(by_twos)) == 6
    by_twos.balanced()


def test_when_one_is_refused_the_next_is_not_sent(by_twos) -> None:
    by_twos.lose("unauthorized", "before")
    campaign = send(by_twos)
    assert fates(by_twos) == [REFUSED, VOID]
    assert by_twos.tasks(campaign) == {"pending": 6}
    assert there(by_twos) == []
    assert [event.count for event in by_twos.events("RUNNER_SUBMIT_PERMISSION_DENIED")] == [1]
    by_twos.balanced()


def test_what_has_ended_when_it_is_first_seen_is_ended_at_once(by_twos) -> None:
    by_twos.lose("slow_reply", seconds=0.6, count=3)
    campaign = send(by_twos, tasks=4, exec_file="true")
    jobs = by_twos.rows(Job)
    assert {job.state for job in jobs} == {JobState.TERMINATED}
    assert all(job.remote_id and job.array_index and job.start_time and job.node_name for job in jobs)
    assert all(job.stdout_path.startswith(f"{by_twos.home}/") for job in jobs)
    assert by_twos.tasks(campaign) == {"done": 4}
    by_twos.finish(campaign)
    assert set(by_twos.successes(campaign).values()) == {1}
    by_twos.balanced()


def test_what_has_failed_when_it_is_first_seen_is_followed(by_twos) -> None:
    by_twos.lose("slow_reply", seconds=0.6, count=3)
    campaign = send(by_twos, tasks=2, exec_file="false")
    assert {job.state for job in by_twos.rows(Job)} == {JobState.SUBMITTED}
    by_twos.finish(campaign)
    assert by_twos.tasks(campaign) == {"failed": 2}
    assert [event.count for event in by_twos.events("EXIT_ERROR")] == [2]
    by_twos.balanced()
