"""Failures are told apart, each with its own rule: tried again, waited for, set aside, blacklisted, fixed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from cigri.core.states import CampaignState, TaskState
from cigri.db import repair
from cigri.db.engine import transaction
from cigri.db.tables import CampaignCluster, Event, Job, Task


def fix(grid, campaign: int, *, resubmit: bool) -> int:
    with transaction(grid.engine) as session:
        return repair.fix(session, repair.open_events(session, campaign), resubmit=resubmit).tasks


def test_a_task_is_tried_again_after_the_exit_codes_that_the_jdl_names(grid) -> None:
    """J17."""
    again = "n=$(cat $0 2>/dev/null | wc -l); echo x >> $0; test $n -ge 2 || exit 75"
    campaign = grid.campaign(["one", "two"], f"bash -c '{again}'", retry_exit_codes=[75])
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"done": 2}
    assert len(grid.rows(Job)) == 6


def test_after_its_retries_a_task_is_set_aside(grid) -> None:
    campaign = grid.campaign(["7"], "exit", max_retries=2)
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"failed": 1}
    assert len(grid.rows(Job)) == 3


def test_other_exit_codes_than_those_named_are_not_tried_again(grid) -> None:
    campaign = grid.campaign(["7"], "exit", max_retries=2, retry_exit_codes=[75])
    grid.finish(campaign)
    assert len(grid.rows(Job)) == 1


@pytest.mark.parametrize("code", [66, 67])
def test_a_program_that_asks_again_at_once_waits_and_counts(grid, code: int) -> None:
    campaign = grid.campaign([str(code)], "exit")
    grid.until(lambda: grid.rows(Job))
    grid.until(lambda: grid.rows(Task)[0].state is TaskState.PENDING)
    (task,) = grid.rows(Task)
    assert task.tries == 1
    (job,) = grid.rows(Job)
    assert task.not_before is not None and task.not_before - job.ended_at == timedelta(seconds=5)
    with transaction(grid.engine) as session:
        session.execute(update(Task).values(not_before=func.now() + timedelta(hours=1)))
    for _ in range(5):
        grid.cycles()
    assert len(grid.rows(Job)) == 1, "it waits"
    with transaction(grid.engine) as session:
        session.execute(update(Task).values(tries=9, not_before=None))
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"failed": 1}
    assert grid.rows(Event, code="TOO_MANY_RESUBMIT")


def test_a_campaign_that_only_fails_gets_no_more_jobs_there_until_it_is_fixed(grid) -> None:
    """E5."""
    campaign = grid.campaign(["1"] * 30, "exit", max_failures=3, max_jobs=1)
    grid.until(lambda: grid.rows(Event, code="BLACKLIST"))
    for _ in range(5):
        grid.cycles()
    assert len(grid.rows(Job)) == 3
    (event,) = grid.rows(Event, code="EXIT_ERROR")
    assert [black.parent for black in grid.rows(Event, code="BLACKLIST")] == [event.id]
    assert grid.state(campaign) is CampaignState.IN_TREATMENT

    assert fix(grid, campaign, resubmit=True) == 3
    assert grid.tasks(campaign) == {"pending": 30}
    grid.until(lambda: len(grid.rows(Event, code="BLACKLIST")) == 2)
    with transaction(grid.engine) as session:
        assert session.scalar(select(CampaignCluster.failed)) == 3
    assert len(grid.rows(Job)) == 6


def test_ten_failures_without_a_success_are_enough(grid) -> None:
    grid.campaign(["1"] * 40, "exit", max_failures=1000, max_jobs=2)
    grid.until(lambda: grid.rows(Event, code="BLACKLIST"))
    assert 10 <= len(grid.rows(Job)) <= 12


def test_fixing_a_terminated_campaign_with_resubmission_runs_its_failed_tasks_again(grid) -> None:
    campaign = grid.campaign(["a", "b"], f"test -e {grid.home}/mended; exit $?; true")
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"failed": 2}
    (grid.home / "mended").touch()
    assert fix(grid, campaign, resubmit=True) == 2
    grid.finish(campaign)
    assert grid.state(campaign) is CampaignState.TERMINATED


def test_fixing_without_resubmission_only_closes(grid) -> None:
    campaign = grid.campaign(["3"], "exit")
    grid.finish(campaign)
    assert fix(grid, campaign, resubmit=False) == 0
    assert grid.tasks(campaign) == {"failed": 1}
    assert not [event for event in grid.rows(Event) if event.state.value == "open"]
