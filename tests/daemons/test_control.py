"""How many jobs a real cluster is sent: by what was measured, within its limits, or through the original's tap."""

from __future__ import annotations

import dataclasses
import time

from sqlalchemy import select, update

from cigri.core.states import FINAL, JobState
from cigri.db.engine import transaction
from cigri.db.tables import Cluster, ClusterStatus, Job


def status(grid) -> ClusterStatus:
    with transaction(grid.engine) as session:
        return session.scalars(select(ClusterStatus)).one()


def live(grid) -> int:
    return sum(job.state not in FINAL for job in grid.rows(Job))


def test_the_rate_and_the_delay_of_the_loop_are_measured(grid) -> None:
    before = status(grid)
    grid.finish(grid.campaign(list("abcdefgh"), "sleep 1; true"))
    after = status(grid)
    assert after.completion_rate > 0 and after.follow_period < before.follow_period, "no matter how long it has rested"
    assert after.start_delay < before.start_delay, "minioar starts jobs in less than five seconds"


def test_the_administrators_limits_hold(grid) -> None:
    with transaction(grid.engine) as session:
        session.execute(update(Cluster).values(max_jobs=2))
    campaign = grid.campaign(list("abcdef"), "true")
    most = []
    grid.until(lambda: most.append(live(grid)) or grid.tasks(campaign) == {"done": 6})
    assert max(most) == 2


def test_no_more_than_allowed_are_sent_in_a_minute(grid) -> None:
    with transaction(grid.engine) as session:
        session.execute(update(Cluster).values(max_per_minute=3))
    campaign = grid.campaign(list("abcdef"), "true")
    for _ in range(6):
        grid.cycles()
    assert len(grid.rows(Job)) == 3
    with transaction(grid.engine) as session:
        session.execute(update(Cluster).values(max_per_minute=None))
    grid.finish(campaign)


def test_the_tap_lets_more_through_each_time_and_closes_while_one_waits(grid) -> None:
    grid.settings = dataclasses.replace(grid.settings, submission_control="tap", runner_min_cycle_duration=0.0)
    grid.campaign([str(number) for number in range(20)], "while [ ! -e go ]; do sleep 0.1; done; true")

    def seen(running: int) -> bool:
        """Whether the runner has seen so many jobs run."""
        grid.runner.cycle()
        return sum(job.state is JobState.RUNNING for job in grid.rows(Job)) == running

    for sent in (3, 7, 13):
        grid.metascheduler.cycle()
        until = time.monotonic() + 60
        while not seen(min(sent, 8)):
            assert time.monotonic() < until
        assert len(grid.rows(Job)) == sent
    for _ in range(3):  # five wait
        grid.metascheduler.cycle()
        grid.runner.cycle()
    assert len(grid.rows(Job)) == 13
    (grid.home / "go").touch()
    grid.until(lambda: len(grid.rows(Job)) == 20)
