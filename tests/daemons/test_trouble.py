"""Clusters and databases that go away and come back: nothing is lost, nothing is sent meanwhile, no hand is needed."""

from __future__ import annotations

import itertools
import random
import threading
import time

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from cigri.core.states import CampaignState, JobState
from cigri.db.tables import Event, Job, Submission
from cigri.errors import DutyLost
from cigri.local import processes


def open_events(grid) -> list[str]:
    return sorted(event.code for event in grid.rows(Event, state="open"))


def heal(grid) -> None:
    """Rounds of the updater until the cluster's troubles are over."""
    assert processes.until(lambda: [grid.updater.cycle(), not open_events(grid)][-1], 20, 0.1), grid.story()


def test_a_cluster_that_is_down_from_the_start_is_blacklisted_after_two_rounds_and_heals(own_grid) -> None:
    """E1."""
    grid = own_grid
    grid.minioar.stop()
    campaign = grid.campaign(["a", "b"], "echo >>marks")
    grid.metascheduler.cycle()
    grid.runner.cycle()
    assert open_events(grid) == []
    grid.runner.cycle()
    assert open_events(grid) == ["BLACKLIST", "CONNECTION_REFUSED"]
    grid.updater.cycle()
    for _ in range(3):
        grid.cycles()
    assert open_events(grid) == ["BLACKLIST", "CONNECTION_REFUSED"]
    assert grid.rows(Submission) == []
    grid.minioar.start()
    heal(grid)
    grid.finish(campaign)
    assert grid.marks() == {"a": 1, "b": 1}
    grid.balanced()


def test_a_cluster_that_goes_down_with_jobs_of_ours_gets_none_until_it_answers_and_its_jobs_are_found(own_grid) -> None:
    grid = own_grid
    grid.minioar.kill_jobs = False
    campaign = grid.campaign([str(n) for n in range(12)], "test -e go || sleep 5; echo >>marks")
    grid.updater.cycle()
    grid.until(lambda: len(grid.rows(Job, state=JobState.RUNNING)) == 8)
    (grid.home / "go").touch()
    grid.minioar.crash()
    for _ in range(2):
        grid.runner.cycle()
    assert open_events(grid) == ["BLACKLIST", "CONNECTION_REFUSED"]
    sent = len(grid.rows(Submission))
    for _ in range(5):
        grid.cycles()
    assert len(grid.rows(Submission)) == sent
    grid.balanced()
    grid.minioar.start()
    heal(grid)
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"done": 12}
    assert set(grid.marks().values()) == {1}
    grid.balanced()


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("no_answer", "TIMEOUT"),
        ("close", "CONNECTION_RESET"),
        ("reset", "CONNECTION_RESET"),
        ("error_before", "CLUSTER_API_SERVER_ERROR"),
        ("garbage", "CLUSTER_API_SERVER_ERROR"),
    ],
)
def test_the_kind_of_trouble_is_told(grid, kind: str, code: str) -> None:
    """E1, E3."""
    grid.campaign(["a"])
    grid.metascheduler.cycle()
    grid.faults({"on": "*", "kind": kind, "when": "before"})
    grid.runner.cycle()
    grid.runner.cycle()
    assert open_events(grid) == ["BLACKLIST", code]
    grid.faults()
    heal(grid)


def test_one_failed_round_between_good_ones_is_not_worth_an_event(grid) -> None:
    campaign = grid.campaign(["30", "31"], "sleep")
    grid.until(lambda: len(grid.rows(Job, campaign_id=campaign, state=JobState.RUNNING)) == 2)
    for _ in range(3):
        grid.faults({"on": "GET /jobs", "kind": "error_before"})
        grid.runner.cycle()
        grid.faults()
        grid.runner.cycle()
    assert open_events(grid) == []


def test_the_database_may_lose_its_connections_at_any_moment(grid, database) -> None:
    campaign = grid.campaign([str(n) for n in range(30)], "echo >>marks")
    grid.updater.cycle()
    over, cuts = threading.Event(), itertools.count()

    def cut() -> None:
        chance = random.Random(7)
        with psycopg.connect(database.conninfo, autocommit=True) as connection:
            while not over.wait(chance.uniform(0.02, 0.4)):
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid() AND application_name <> 'cigri'"
                )
                next(cuts)

    thread = threading.Thread(target=cut)
    thread.start()
    broken = 0
    try:
        end = time.monotonic() + 40
        while grid.state(campaign) is CampaignState.IN_TREATMENT:
            assert time.monotonic() < end, grid.story()
            for name in ("metascheduler", "runner", "nikita"):
                try:
                    getattr(grid, name).cycle()
                except (DBAPIError, DutyLost):
                    broken += 1
                    grid.forget(name)
            if next(cuts) > 30:
                over.set()
    finally:
        over.set()
        thread.join()
    assert broken > 2
    assert grid.tasks(campaign) == {"done": 30}
    assert set(grid.marks().values()) == {1}
    grid.balanced()
