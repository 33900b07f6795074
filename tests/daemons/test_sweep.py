"""The sweep: every job with a name of this grid is known, or becomes known; nobody else's is touched."""

from __future__ import annotations

import dataclasses
import shlex

from sqlalchemy import select

from cigri.core.states import JobState, SubmissionState, TaskState
from cigri.db import campaigns
from cigri.db.engine import transaction
from cigri.db.grid import grid_id
from cigri.db.tables import ClusterStatus, Job, Submission, Task
from cigri.local import processes


def given_up(grid, lines: list[str], exec_file: str) -> tuple[int, Submission, list[dict[str, object]]]:
    """A campaign whose first submission was given up, and the jobs that it asked for, which come to the cluster now."""
    campaign = grid.campaign(lines, exec_file)
    grid.lose("close", "before")
    grid.metascheduler.cycle()
    grid.runner.cycle()
    asked = [(job.id, line) for job, line in zip(grid.rows(Job), lines, strict=True)]
    while grid.rows(Submission)[0].state is SubmissionState.SENDING:
        grid.runner._settler.round(grid.runner._site())
    (submission,) = grid.rows(Submission)
    assert submission.state is SubmissionState.VOID
    late = [command(campaign, key, exec_file, line) for key, line in asked]
    return campaign, submission, [{"name": submission.name, "command": each} for each in late]


def command(campaign: int, key: int, exec_file: str, line: str) -> str:
    return f"export CIGRI_CAMPAIGN_ID={campaign} CIGRI_JOB_ID={key}; {exec_file} {shlex.quote(line)}"


def test_a_request_that_arrives_after_it_was_given_up_is_deleted(grid) -> None:
    campaign, _, late = given_up(grid, ["60", "61"], "sleep")
    strays = [grid.by_hand(**job) for job in late]
    assert grid.sweep() == 2
    assert processes.until(lambda: not set(strays) & set(grid.live()), 10)
    assert len(grid.events("STRAY_JOB")) == 2
    grid.sweep()
    assert len(grid.events("STRAY_JOB")) == 2
    assert grid.tasks(campaign) == {"pending": 2}
    grid.balanced()


def test_a_stray_that_has_succeeded_counts_once_and_its_task_is_not_run_again(grid) -> None:
    campaign, _, late = given_up(grid, ["a", "b"], "echo >>marks")
    for job in late:
        grid.by_hand(**job)
    assert processes.until(lambda: not grid.live(), 10)
    assert grid.sweep() == 2
    assert grid.tasks(campaign) == {"done": 2}
    assert grid.sweep() == 0
    grid.finish(campaign)
    assert grid.marks() == {"a": 1, "b": 1}
    assert grid.events("DUPLICATE_RUN") == []
    grid.balanced()


def test_the_other_try_of_a_task_whose_stray_succeeded_is_killed(grid) -> None:
    campaign, _, late = given_up(grid, ["a"], "test -e go || { touch go; exit 0; }; sleep 60; echo")
    grid.by_hand(**late[0])
    assert processes.until(lambda: not grid.live(), 10)
    grid.until(lambda: grid.rows(Job, state=JobState.RUNNING))
    assert grid.sweep() == 1
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"done": 1}
    assert [job.outcome for job in grid.rows(Job)] == ["surplus"]
    assert grid.live() == []
    grid.balanced()


def test_a_second_success_is_reported_once_and_not_counted(grid) -> None:
    campaign, _, late = given_up(grid, ["a"], "echo >>marks")
    grid.finish(campaign)
    grid.by_hand(**late[0])
    assert processes.until(lambda: not grid.live(), 10)
    assert grid.sweep() == 1
    for _ in range(3):
        assert grid.sweep() == 0
    (event,) = grid.events("DUPLICATE_RUN")
    assert event.campaign_id == campaign
    assert grid.tasks(campaign) == {"done": 1}
    grid.balanced()


def test_jobs_of_submissions_that_nobody_knows_are_deleted_and_others_left_alone(grid) -> None:
    grid.campaign(["60"], "sleep")
    grid.until(lambda: grid.rows(Job, state=JobState.RUNNING))
    with transaction(grid.engine) as session:
        ours = f"cigri.{grid_id(session)}"
    (mine,) = grid.live()
    unknown = grid.by_hand(f"{ours}.77.aaaaaaaaaaaaaaaa", command(77, 9999, "sleep", "60"))
    keyless = grid.by_hand(f"{ours}.78.bbbbbbbbbbbbbbbb", "sleep 60")
    others = grid.by_hand("cigri.00000000.1.aaaaaaaaaaaaaaaa", command(1, 1, "sleep", "60"))
    own = grid.by_hand("analysis", "sleep 60")
    alike = grid.by_hand(f"{ours}", "sleep 60")
    assert grid.sweep() == 2
    assert processes.until(lambda: not {unknown, keyless} & set(grid.live()), 10)
    assert set(grid.live()) == {mine, others, own, alike}
    assert grid.rows(Job)[0].state is JobState.RUNNING


def test_a_job_with_our_name_and_a_live_key_under_a_foreign_id_goes_and_the_real_one_stays(grid) -> None:
    campaign = grid.campaign(["60"], "sleep")
    grid.until(lambda: grid.rows(Job, state=JobState.RUNNING))
    (mine,) = grid.live()
    twin = grid.remote()[-1]
    again = grid.by_hand(twin["name"], twin["command"])
    assert grid.sweep() == 1
    assert processes.until(lambda: again not in grid.live(), 10)
    grid.cycles()
    assert grid.live() == [mine]
    assert grid.tasks(campaign) == {"active": 1}
    grid.balanced()


def test_what_a_cancelled_campaign_left_on_the_cluster_goes_and_a_success_of_it_counts(grid) -> None:
    campaign, _, late = given_up(grid, ["a", "b"], "test -e go && sleep 60; echo >>marks")
    with transaction(grid.engine) as session:
        campaigns.cancel(session, campaign)
    grid.by_hand(**late[0])
    assert processes.until(lambda: not grid.live(), 10)
    (grid.home / "go").touch()
    grid.by_hand(**late[1])
    assert grid.sweep() == 2
    assert processes.until(lambda: not grid.live(), 10)
    assert [task.state for task in grid.rows(Task)] == [TaskState.DONE, TaskState.CANCELLED]
    grid.balanced()


def test_the_sweep_comes_as_often_as_is_configured(grid) -> None:
    def swept() -> object:
        with transaction(grid.engine) as session:
            return session.scalar(select(ClusterStatus.swept_at))

    before = swept()
    grid.nikita.cycle()
    assert swept() == before
    grid.forget("nikita")
    grid.settings = dataclasses.replace(grid.settings, idle_sweep_period=0.001)
    grid.nikita.cycle()
    assert swept() != before
