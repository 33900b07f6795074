"""The life of a campaign: submitted, followed, ended, counted once."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from cigri.core.states import CampaignState, JobState
from cigri.db import campaigns, check, repair
from cigri.db.engine import transaction
from cigri.db.tables import Campaign, CampaignProgress, Event, Job, Submission


def test_every_task_of_a_campaign_succeeds_once(grid) -> None:
    campaign = grid.campaign([f"ran-{number}" for number in range(30)], "touch")
    grid.updater.cycle()
    grid.finish(campaign)
    assert grid.state(campaign) is CampaignState.TERMINATED
    assert grid.tasks(campaign) == {"done": 30}
    assert len(list(grid.home.glob("ran-*"))) == 30
    assert {job.state for job in grid.rows(Job)} == {JobState.TERMINATED}
    assert len(grid.rows(Job)) == 30


def test_a_failed_task_is_set_aside_and_told_once_for_all_alike(grid) -> None:
    """E5."""
    campaign = grid.campaign(["0", "3", "3", "0"], "echo no such sample >&2; exit")
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"done": 2, "failed": 2}
    (event,) = grid.rows(Event, code="EXIT_ERROR")
    assert (event.count, event.state.value, event.campaign_id) == (2, "open", campaign)
    assert "exit code 3" in event.message
    assert "no such sample" in event.message


def test_a_failure_after_its_event_was_closed_shows_its_own_stderr(grid) -> None:
    """E5: alike ones while it is open do not change it."""
    said = grid.home / "said"
    said.write_text("first")
    campaign = grid.campaign(["3", "3"], f"cat {said} >&2; exit")
    grid.finish(campaign)
    (event,) = grid.rows(Event, code="EXIT_ERROR")
    said.write_text("second")
    with transaction(grid.engine) as session:
        repair.fix(session, [event.id], resubmit=True)
    grid.finish(campaign)
    first, second = sorted(grid.rows(Event, code="EXIT_ERROR"), key=lambda event: event.id)
    assert (first.message, second.message) == ("exit code 3\nfirst", "exit code 3\nsecond")
    assert (first.count, second.count) == (2, 2)


def test_a_failing_epilogue_shows_its_stderr_after_tasks_that_failed_alike(grid) -> None:
    """E7."""
    words = {"prologue": ["true"], "epilogue": ["echo epilogue >&2", "exit 3"]}
    grid.finish(grid.campaign(["3"], "echo task >&2; exit", **words))
    told = {event.code: event.message for event in grid.rows(Event, state="open")}
    assert told == {
        "EXIT_ERROR": "exit code 3\ntask",
        "EPILOG_EXIT_ERROR": "the epilogue: exit code 3\nepilogue",
    }


def test_a_preempted_job_goes_back_and_succeeds(grid) -> None:
    campaign = grid.campaign(["first", "second"], f"test -e {grid.home}/go || sleep 60; touch")
    grid.until(lambda: len(grid.rows(Job, state=JobState.RUNNING)) == 2)
    (grid.home / "go").touch()
    grid.knob("kill_besteffort", {"count": 2})
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"done": 2}
    assert sorted(job.outcome for job in grid.rows(Job)) == ["preempted", "preempted", "success", "success"]


def test_an_empty_campaign_ends_at_once(grid) -> None:
    """J6."""
    campaign = grid.campaign([])
    grid.metascheduler.cycle()
    assert grid.state(campaign) is CampaignState.TERMINATED


def test_submissions_are_named_and_settled(grid) -> None:
    campaign = grid.campaign(["a", "b"])
    grid.finish(campaign)
    for submission in grid.rows(Submission):
        assert submission.name.startswith("cigri.")
        assert submission.state.value == "settled"


def test_a_large_campaign_is_cancelled_part_by_part(grid) -> None:
    part = campaigns.CANCELLED_AT_ONCE
    campaign = grid.campaign(["x"] * (2 * part + 5))
    with transaction(grid.engine) as session:
        campaigns.cancel(session, campaign)
    assert grid.tasks(campaign) == {"pending": part + 5, "cancelled": part}
    for _ in range(3):
        grid.metascheduler.cycle()
    assert grid.tasks(campaign) == {"cancelled": 2 * part + 5}
    assert grid.rows(Job) == []


def test_a_purged_campaign_keeps_its_numbers_only(grid) -> None:
    """R12."""
    campaign = grid.campaign(["0", "1", "0"], "exit")
    with pytest.raises(campaigns.WrongState), transaction(grid.engine) as session:
        campaigns.purge(session, campaign)
    grid.finish(campaign)
    with transaction(grid.engine) as session:
        campaigns.purge(session, campaign)
    grid.metascheduler.cycle()
    assert grid.rows(Job) == []
    with transaction(grid.engine) as session:
        progress = session.get_one(CampaignProgress, campaign)
        assert (progress.done, progress.failed) == (2, 1)
    with transaction(grid.engine) as session:
        assert check.faults(session) == []


def test_a_campaign_that_cannot_be_sent_does_not_end_the_runner(grid) -> None:
    broken, good = grid.campaign(["a"]), grid.campaign(["b"])
    with transaction(grid.engine) as session:
        session.execute(update(Campaign).where(Campaign.id == broken).values(jdl={"name": "x", "clusters": {}}))
    grid.finish(good)
    assert [event.campaign_id for event in grid.rows(Event, code="RUNNER_SUBMIT_ERROR")] == [broken]
    assert grid.tasks(broken) == {"pending": 1}
