"""A run that was given up and succeeded all the same counts once, and is no second run."""

from __future__ import annotations

from cigri.core import outcome
from cigri.core.states import JobState
from cigri.db import jobs
from cigri.db.engine import transaction
from cigri.db.jobs import End
from cigri.db.tables import Job
from cigri.local import processes


def test_a_success_after_the_job_was_given_up_is_counted_and_never_told_as_a_second_run(grid) -> None:
    campaign = grid.campaign(["a"], "while [ ! -e go ]; do sleep 0.1; done; echo >>marks; true")
    grid.until(lambda: [job.state for job in grid.rows(Job)] == [JobState.RUNNING])
    lost = grid.rows(Job)[0]
    with transaction(grid.engine, lost.cluster_id) as session:
        verdict = outcome.lost(last_seen_waiting=False)
        assert jobs.finish(session, lost.cluster_id, [End(lost.id, verdict)]) == {lost.id}
    assert grid.tasks(campaign) == {"failed": 1}
    (grid.home / "go").touch()
    assert processes.until(lambda: not grid.live(), 60)
    assert grid.sweep() == 1
    assert grid.tasks(campaign) == {"done": 1}
    assert (grid.sweep(), grid.sweep()) == (0, 0)
    assert grid.events("DUPLICATE_RUN") == []
    assert [event.campaign_id for event in grid.events("LATE_SUCCESS")] == [campaign]
    grid.balanced()
