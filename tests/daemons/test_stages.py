"""Prologues and epilogues: once per cluster, before the first and after the last task."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from cigri.core.states import FINAL, CampaignState, JobKind, JobState
from cigri.db import campaigns
from cigri.db.engine import transaction
from cigri.db.tables import Cluster, Event, Job, Stage


def log(grid) -> list[str]:
    path = grid.home / "log"
    return path.read_text().split() if path.exists() else []


def staged(grid, lines=("a", "b"), exec_file="", **more) -> int:
    file = f"{grid.home}/log"
    settings = {"prologue": [f"echo begin >> {file}"], "epilogue": [f"echo end{{CAMPAIGN_ID}} >> {file}"], **more}
    return grid.campaign(lines, exec_file or f"echo task >> {file}; true", **settings)


def stages(grid) -> list[tuple[str, int, str]]:
    with transaction(grid.engine) as session:
        query = select(Stage.kind, Stage.round, Stage.state).order_by(Stage.round, Stage.kind)
        return [(kind.value, number, state.value) for kind, number, state in session.execute(query)]


def test_the_prologue_comes_first_and_the_epilogue_last(grid) -> None:
    """J14."""
    campaign = staged(grid)
    grid.finish(campaign)
    assert grid.state(campaign) is CampaignState.TERMINATED
    assert log(grid) == ["begin", "task", "task", f"end{campaign}"]
    assert grid.tasks(campaign) == {"done": 2}
    kinds = {job.kind: grid.minioar_job(job.remote_id)["queue_name"] for job in grid.rows(Job)}
    assert kinds == {JobKind.PROLOGUE: "default", JobKind.TASK: "besteffort", JobKind.EPILOGUE: "default"}


def test_a_prologue_that_fails_blocks_its_campaign_there_and_is_told(grid) -> None:
    """E7."""
    bad = staged(grid, prologue=["exit 3"])
    good = grid.campaign(["x"])
    grid.finish(good)
    grid.until(lambda: grid.rows(Event, code="PROLOG_EXIT_ERROR"))
    for _ in range(5):
        grid.cycles()
    assert log(grid) == []
    assert grid.state(bad) is CampaignState.IN_TREATMENT
    (event,) = grid.rows(Event, code="PROLOG_EXIT_ERROR")
    assert "the prologue: exit code 3" in event.message
    assert [event.campaign_id for event in grid.rows(Event, code="BLACKLIST")] == [bad]


def test_an_epilogue_runs_also_when_the_campaign_was_cancelled_after_its_prologue(grid) -> None:
    campaign = staged(grid, exec_file="sleep 60; true")
    grid.until(lambda: grid.rows(Job, kind=JobKind.TASK, state=JobState.RUNNING))
    with transaction(grid.engine) as session:
        campaigns.cancel(session, campaign)
    grid.until(lambda: stages(grid)[-1] == ("epilogue", 1, "done"))
    assert log(grid) == ["begin", f"end{campaign}"]
    assert grid.tasks(campaign) == {"cancelled": 2}


def test_a_campaign_cancelled_before_its_prologue_was_sent_leaves_nothing(grid) -> None:
    campaign = staged(grid)
    grid.metascheduler.cycle()
    with transaction(grid.engine) as session:
        campaigns.cancel(session, campaign)
    for _ in range(4):
        grid.cycles()
    assert log(grid) == []
    assert stages(grid) == [("prologue", 1, "failed")]


def test_tasks_added_after_the_epilogue_open_a_new_round(grid) -> None:
    campaign = staged(grid)
    grid.finish(campaign)
    with transaction(grid.engine) as session:
        campaigns.add_tasks(session, campaign, ["c"], 1)
    grid.finish(campaign)
    assert log(grid) == ["begin", "task", "task", f"end{campaign}", "begin", "task", f"end{campaign}"]


def test_a_failing_epilogue_is_told_and_does_not_keep_the_campaign_open(grid) -> None:
    """E7."""
    campaign = staged(grid, epilogue=["false"])
    grid.finish(campaign)
    assert grid.state(campaign) is CampaignState.TERMINATED
    assert grid.rows(Event, code="EPILOG_EXIT_ERROR")


@pytest.mark.parametrize("lost", ["close", "error_before"])
def test_a_prologue_whose_answer_was_lost_runs_once(grid, lost: str) -> None:
    campaign = staged(grid)
    grid.knob("faults", [{"on": "POST /jobs", "kind": lost, "count": 1}])
    grid.finish(campaign)
    assert log(grid) == ["begin", "task", "task", f"end{campaign}"]


def test_in_test_mode_one_job_at_a_time_not_best_effort(grid) -> None:
    """J15."""
    campaign = grid.campaign(list("abcd"), "true", test_mode=True)
    most = 0
    while grid.state(campaign) is CampaignState.IN_TREATMENT:
        grid.cycles()
        live = [job for job in grid.rows(Job) if job.state not in (JobState.TERMINATED, JobState.EVENT)]
        most = max(most, len(live))
    assert most == 1
    assert {grid.minioar_job(job.remote_id)["queue_name"] for job in grid.rows(Job)} == {"default"}


def test_normal_jobs_are_not_best_effort(grid) -> None:
    """J11."""
    campaign = grid.campaign(["a"], type="normal")
    grid.finish(campaign)
    (job,) = grid.rows(Job)
    assert grid.minioar_job(job.remote_id)["queue_name"] == "default"


def test_prologues_are_within_what_the_administrator_allows(grid) -> None:
    with transaction(grid.engine) as session:
        session.execute(update(Cluster).values(max_jobs=1))
    campaigns_ = [staged(grid, prologue=["sleep 0.3"]) for _ in range(3)]
    most = []
    grid.until(
        lambda: (
            most.append(sum(job.state not in FINAL for job in grid.rows(Job)))
            or all(grid.state(each) is CampaignState.TERMINATED for each in campaigns_)
        )
    )
    assert max(most) == 1
