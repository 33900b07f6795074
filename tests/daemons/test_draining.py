"""Emptying a cluster, and giving up one that is dead, while a campaign runs on it."""

from __future__ import annotations

import pytest

from cigri.core.states import CampaignState, JobState
from cigri.db import clusters, forgetting, kills
from cigri.db.engine import notify, transaction
from cigri.db.tables import Job
from cigri.errors import DutyLost

SLOTS = 8
WORK = 'sh -c "until [ -e go ]; do sleep 0.1; done; echo done >>marks"'


@pytest.fixture
def busy(own_grid):
    """A campaign whose jobs fill the cluster and wait there."""
    campaign = own_grid.campaign([str(number) for number in range(14)], WORK)
    own_grid.until(lambda: states(own_grid).count(JobState.RUNNING) == SLOTS and len(states(own_grid)) > SLOTS, 60)
    return campaign


def states(grid):
    return [job.state for job in grid.rows(Job) if job.ended_at is None]


def drain(grid, *, now=False):
    with transaction(grid.engine) as session:
        clusters.disable(session, clusters.locked(session, "mini"))
        kills.recall(session, clusters.by_name(session, "mini").id, running_too=now)


def enable(grid):
    with transaction(grid.engine) as session:
        clusters.change(session, clusters.locked(session, "mini"), enabled=True)
        notify(session, "clusters")


@pytest.mark.parametrize("now", [False, True])
def test_a_drained_cluster_is_empty_and_nothing_has_failed(own_grid, busy, now):
    grid = own_grid
    drain(grid, now=now)
    if not now:
        grid.until(lambda: len(states(grid)) == SLOTS, 60)
        (grid.home / "go").touch()
    grid.until(lambda: states(grid) == [] and grid.live() == [], 60)
    assert grid.tasks(busy) == ({"pending": 14} if now else {"done": SLOTS, "pending": 14 - SLOTS})
    assert [event for event in grid.events("RESUBMIT") if "drained" in event.message]
    (grid.home / "go").touch()
    enable(grid)
    grid.finish(busy, 90)
    assert grid.tasks(busy) == {"done": 14} and grid.marks() == {"done": 14}
    grid.balanced()


def test_a_dead_cluster_is_given_up(own_grid, busy):
    grid = own_grid
    runner = grid.runner
    grid.minioar.stop()
    with transaction(grid.engine) as session:
        cluster = clusters.locked(session, "mini")
        clusters.mark_removed(session, cluster)
        live = clusters.live_jobs(session, cluster.id)
        assert forgetting.forget_jobs(session, cluster) == live > 0
    with pytest.raises(DutyLost), runner.transaction():
        pass
    (told,) = grid.events("JOB_LOST")
    assert told.count == live == grid.tasks(busy)["failed"] and "nobody knows whether it ran" in told.message
    grid.metascheduler.cycle()
    assert grid.state(busy) is CampaignState.IN_TREATMENT
    grid.balanced()
