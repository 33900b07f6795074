"""Marks, deletions, and the fence between the holder of a duty and who was it before."""

from __future__ import annotations

import dataclasses
import time

import pytest
from sqlalchemy import func, text, update

from cigri.core.states import CampaignState, JobState, SubmissionState
from cigri.daemons.runner import Runner
from cigri.db import campaigns
from cigri.db.engine import create_engine, transaction
from cigri.db.kills import KillReason, mark_jobs
from cigri.db.tables import Event, Job, Submission
from cigri.errors import DutyLost
from cigri.local import processes


def cancel(grid, campaign: int) -> None:
    with transaction(grid.engine) as session:
        campaigns.cancel(session, campaign)


def mark(grid, *job_ids: int, reason: KillReason = KillReason.USER, message: str | None = None) -> None:
    with transaction(grid.engine) as session:
        mark_jobs(session, job_ids, reason, message)


def clean(grid) -> bool:
    return all(job.state in (JobState.TERMINATED, JobState.EVENT) for job in grid.rows(Job))


def test_cancelling_ends_what_is_launching_waiting_and_running(grid) -> None:
    campaign = grid.campaign([str(60 + n) for n in range(20)], "sleep")
    grid.updater.cycle()
    grid.until(lambda: len(grid.rows(Job, state=JobState.RUNNING)) == 8)
    grid.until(lambda: grid.rows(Job, state=JobState.REMOTE_WAITING))
    grid.knob("kill_besteffort", {"count": 4})
    grid.lose("close", "after")
    grid.until(lambda: grid.rows(Job, state=JobState.LAUNCHING))
    cancel(grid, campaign)
    grid.balanced()
    grid.until(lambda: clean(grid))
    assert grid.tasks(campaign) == {"cancelled": 20}
    assert grid.live() == []
    assert [event.code for event in grid.rows(Event, campaign_id=campaign, state="open")] == []
    grid.balanced()


def test_what_an_administrator_says_of_a_job_is_in_its_event(grid) -> None:
    """E6."""
    campaign = grid.campaign([str(60 + n) for n in range(4)], "sleep")
    grid.until(lambda: len(grid.rows(Job, state=JobState.RUNNING)) == 4)
    said = {"node broken": 2, "n" * 4000: 1, None: 1}
    jobs = iter(grid.rows(Job))
    for message, count in said.items():
        mark(grid, *(next(jobs).id for _ in range(count)), reason=KillReason.MANUAL, message=message)
    grid.until(lambda: clean(grid))
    assert grid.tasks(campaign) == {"failed": 4}
    told = {event.message: event.count for event in grid.rows(Event, code="MANUAL_EVENT")}
    words = "set aside by an administrator of the grid"
    assert told == {f"{words}: node broken": 2, f"{words}: {'n' * 4000}"[:4000]: 1, words: 1}


def test_a_cancelled_submission_that_never_arrived_leaves_nothing(grid) -> None:
    campaign = grid.campaign(["60", "61"], "sleep")
    grid.lose("reset", "before")
    grid.metascheduler.cycle()
    grid.runner.cycle()
    cancel(grid, campaign)
    grid.until(lambda: clean(grid))
    assert grid.tasks(campaign) == {"cancelled": 2}
    grid.balanced()


def test_a_job_that_succeeds_while_its_campaign_is_cancelled_counts_as_done(grid) -> None:
    campaign = grid.campaign(["a"], "trap '' TERM; echo >>marks")
    grid.metascheduler.cycle()
    grid.runner.cycle()
    assert processes.until(lambda: not grid.live(), 10)
    cancel(grid, campaign)
    grid.until(lambda: clean(grid))
    assert grid.tasks(campaign) == {"done": 1}
    assert grid.state(campaign) is CampaignState.CANCELLED
    grid.balanced()


def test_a_single_job_is_killed_and_told_once(grid) -> None:
    campaign = grid.campaign(["60", "61"], "sleep")
    grid.until(lambda: len(grid.rows(Job, state=JobState.RUNNING)) == 2)
    mark(grid, grid.rows(Job)[0].id)
    grid.until(lambda: grid.tasks(campaign).get("failed") == 1)
    (event,) = grid.events("USER_FRAG")
    assert "request" in event.message
    assert len(grid.rows(Job, state=JobState.RUNNING)) == 1
    grid.balanced()


def test_a_job_marked_while_it_is_being_sent_is_killed_once_it_is_settled(grid) -> None:
    campaign = grid.campaign(["60"], "sleep")
    grid.lose("close", "after")
    grid.metascheduler.cycle()
    grid.runner.cycle()
    mark(grid, grid.rows(Job, state=JobState.LAUNCHING)[0].id)
    grid.until(lambda: grid.tasks(campaign) == {"failed": 1})
    assert grid.live() == []
    grid.balanced()


@pytest.mark.parametrize("kind", ["error_before", "garbage", "close", "no_answer"])
def test_a_deletion_that_does_nothing_is_asked_for_again(grid, kind: str) -> None:
    campaign = grid.campaign(["60", "61"], "sleep")
    grid.until(lambda: len(grid.rows(Job, state=JobState.RUNNING)) == 2)
    grid.lose(kind, "before", on="DELETE", count=3)
    cancel(grid, campaign)
    grid.until(lambda: clean(grid))
    assert grid.live() == []
    # Of garbage nobody knows what it answers: the deletion may have been done.
    assert max(job.kill_tries for job in grid.rows(Job)) >= (1 if kind == "garbage" else 2)
    grid.balanced()


def test_the_answer_of_a_deletion_ends_nothing(grid) -> None:
    campaign = grid.campaign(["x"], "trap '' TERM; sleep 60; sleep 60; echo")
    grid.until(lambda: len(grid.rows(Job, state=JobState.RUNNING)) == 1)
    cancel(grid, campaign)
    grid.nikita.cycle()
    grid.runner.cycle()
    (job,) = grid.rows(Job)
    assert (job.state, job.kill_tries) == (JobState.RUNNING, 1)
    grid.until(lambda: clean(grid))
    assert grid.tasks(campaign) == {"cancelled": 1}


def test_pausing_stops_submissions_and_lets_running_jobs_go_on(grid) -> None:
    campaign = grid.campaign([str(n) for n in range(20)], "sleep 0.3; echo >>marks", max_jobs=3)
    grid.until(lambda: len(grid.rows(Job)) >= 3)
    with transaction(grid.engine) as session:
        campaigns.pause(session, campaign)
    sent = len(grid.rows(Job))
    grid.until(lambda: clean(grid))
    for _ in range(5):
        grid.cycles()
    assert len(grid.rows(Job)) == sent
    assert grid.tasks(campaign) == {"done": sent, "pending": 20 - sent}
    with transaction(grid.engine) as session:
        campaigns.resume(session, campaign)
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"done": 20}
    grid.balanced()


def test_whoever_lost_the_duty_neither_writes_nor_sends(grid) -> None:
    grid.campaign(["a"])
    grid.metascheduler.cycle()
    old = grid.runner
    old.cycle()
    site = old._site()
    with grid.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE duties SET epoch = epoch + 1 WHERE name = 'runner mini'")
    before = grid.rows(Submission), grid.rows(Job)
    with pytest.raises(DutyLost):
        old.cycle()
    with pytest.raises(DutyLost), site.transaction():
        raise AssertionError("the block must not be entered")
    assert [len(rows) for rows in before] == [len(grid.rows(Submission)), len(grid.rows(Job))]


def test_a_holder_whose_connection_was_cut_sends_nothing_more(grid) -> None:
    grid.campaign(["60"], "sleep")
    grid.until(lambda: len(grid.rows(Job, state=JobState.RUNNING)) == 1)
    runner = grid.runner
    site, (job,) = runner._site(), grid.rows(Job)
    assert site.cluster.job(job.remote_id).id == job.remote_id
    pid = next(duty.backend_pid for duty in grid.duties() if duty.name == "runner mini")
    with grid.engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
    assert processes.until(lambda: not runner.duty.held, 10, 0.1)
    with pytest.raises(DutyLost):
        site.cluster.delete("alice", job.remote_id)
    assert grid.live() == [job.remote_id]


def test_a_second_runner_settles_what_the_first_left_in_flight(grid) -> None:
    campaign = grid.campaign(["a", "b"], "echo >>marks")
    grid.lose("no_answer", "after", seconds=5)
    grid.metascheduler.cycle()
    grid.runner.cycle()
    assert grid.rows(Submission)[0].state is SubmissionState.SENDING
    first = grid._daemons.pop("runner")
    engine = create_engine(grid._url, application="second")
    second = Runner(grid.settings, engine, "mini")
    assert not second.duty.acquire()
    pid = next(duty.backend_pid for duty in grid.duties() if duty.name == "runner mini")
    with grid.engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
    assert processes.until(second.duty.acquire, 5, 0.05)
    with pytest.raises(DutyLost):
        first.cycle()
    end = time.monotonic() + 20
    while not clean(grid) or grid.state(campaign) is CampaignState.IN_TREATMENT:
        assert time.monotonic() < end, grid.story()
        grid.metascheduler.cycle()
        second.cycle()
    assert grid.marks() == {"a": 1, "b": 1}
    assert {duty.epoch for duty in grid.duties() if duty.name == "runner mini"} == {2}
    grid.balanced()
    for runner in (first, second):
        runner.close()
        runner.engine.dispose()


def test_a_silent_holder_is_cut_off_by_who_stands_by(grid) -> None:
    grid.campaign(["a"])
    assert grid.runner.duty.held
    engine = create_engine(grid._url, application="standby")
    standby = Runner(grid.settings, engine, "mini")
    try:
        assert not standby.duty.acquire()
        assert not standby.duty.acquire()
        with grid.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE duties SET seen = now() - interval '13 s'")
        assert processes.until(standby.duty.acquire, 5, 0.05)
        with pytest.raises(DutyLost):
            grid.runner.cycle()
    finally:
        standby.close()
        engine.dispose()


def walltimes(grid) -> list[int | None]:
    return [job.walltime for job in grid.rows(Job)]


def test_what_may_run_longer_than_was_known_is_not_ended(grid) -> None:
    """Its walltime was extended on the cluster."""
    grid.settings = dataclasses.replace(grid.settings, walltime_grace=0.0)
    grid.campaign(["60"], "sleep")
    grid.until(lambda: grid.rows(Job, state=JobState.RUNNING))
    (known,) = walltimes(grid)
    with transaction(grid.engine) as session:
        session.execute(update(Job).values(walltime=1, start_time=func.now() - text("interval '1 minute'")))
        mark_jobs(session, [job.id for job in grid.rows(Job)], KillReason.WALLTIME)
    grid.nikita.cycle()
    (job,) = grid.rows(Job)
    assert (job.walltime, job.kill_reason) == (known, None) and len(grid.live()) == 1


def test_what_runs_for_long_is_looked_at_again(grid) -> None:
    grid.campaign(["60"], "sleep")
    grid.until(lambda: grid.rows(Job, state=JobState.RUNNING))
    (known,) = walltimes(grid)
    with transaction(grid.engine) as session:
        session.execute(update(Job).values(walltime=1))
        session.execute(update(Submission).values(remote_clock=time.time() - 300))
    grid.runner.cycle()
    assert walltimes(grid) == [1]
    with transaction(grid.engine) as session:
        session.execute(update(Submission).values(remote_clock=time.time() - 599.5))
    grid.until(lambda: walltimes(grid) == [known])
