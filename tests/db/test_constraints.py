"""What the database itself refuses, whoever asks."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from cigri.core.states import FINAL, LIVE, CampaignState, JobState, TaskState
from cigri.db.tables import Campaign, Cluster, Event, Job, Submission, Task


@pytest.fixture
def active(unchecked):
    """A task with a live job: the values of its row in jobs."""
    cluster_id = unchecked.cluster()
    job_id = unchecked.submit(cluster_id, unchecked.campaign([cluster_id]), 1)[0]
    row = unchecked.job(job_id)
    names = ("task_id", "campaign_id", "cluster_id", "submission_id", "remote_id")
    return job_id, {name: getattr(row, name) for name in names}


def again(unchecked, values, state):
    known = {"ended_at": text("now()")} if state in FINAL else {}
    known |= {"outcome": "success"} if state is JobState.TERMINATED else {}
    return unchecked.insert(Job, **values, state=state, **known)


def test_one_live_job_per_task(unchecked, active):
    for state in sorted(LIVE):
        with pytest.raises(IntegrityError, match="jobs_one_live_per_task"):
            again(unchecked, active[1], state)


def test_one_success_per_task(unchecked, active):
    job_id, values = active
    unchecked.update(Job, job_id, state=JobState.TERMINATED, outcome="success", ended_at=text("now()"))
    with pytest.raises(IntegrityError, match="jobs_one_success_per_task"):
        again(unchecked, values, JobState.TERMINATED)


def test_failures_and_one_live_job_may_stand_side_by_side(unchecked, active):
    again(unchecked, active[1], JobState.EVENT)
    again(unchecked, active[1], JobState.EVENT)


@pytest.mark.parametrize("final", sorted(FINAL))
def test_the_end_of_a_job_is_final(unchecked, active, final):
    job_id, _ = active
    outcome = "success" if final is JobState.TERMINATED else None
    unchecked.update(Job, job_id, state=final, outcome=outcome, ended_at=text("now()"))
    unchecked.update(Job, job_id, state=final, node_name="later knowledge")
    for state in sorted(set(JobState) - {final}):
        with pytest.raises(IntegrityError, match="is final"):
            unchecked.update(Job, job_id, state=state, ended_at=text("now()") if state in FINAL else None)


def test_done_is_final(unchecked, active):
    key = active[1]["task_id"]
    unchecked.update(Task, key, state=TaskState.DONE)
    unchecked.update(Task, key, state=TaskState.DONE, priority=0)
    for state in sorted(set(TaskState) - {TaskState.DONE}):
        with pytest.raises(IntegrityError, match="is final"):
            unchecked.update(Task, key, state=state)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"state": JobState.EVENT}, id="ended without a date"),
        pytest.param({"ended_at": text("now()")}, id="a date without an end"),
        pytest.param({"remote_id": None}, id="followed without an id on its cluster"),
        pytest.param({"submission_id": None}, id="sent without a submission"),
        pytest.param({"kill_reason": "user"}, id="a mark without a date"),
        pytest.param({"kill_at": text("now()")}, id="a date without a mark"),
        pytest.param({"task_id": None}, id="a task's job without its task"),
        pytest.param({"kind": "prologue"}, id="a prologue with a task"),
    ],
)
def test_jobs_are_whole(unchecked, active, change):
    with pytest.raises(IntegrityError, match="check constraint"):
        unchecked.update(Job, active[0], **change)


@pytest.mark.parametrize(
    "values",
    [
        {"state": CampaignState.CANCELLED},
        {"state": CampaignState.TERMINATED},
        {"ended_at": text("now()")},
        {"total_tasks": -1},
        {"grid_user": ""},
    ],
)
def test_campaigns_are_whole(unchecked, values):
    campaign_id = unchecked.campaign([unchecked.cluster()])
    with pytest.raises(IntegrityError, match="check constraint"):
        unchecked.update(Campaign, campaign_id, **values)


@pytest.mark.parametrize(
    "values",
    [
        {"name": ""}, {"name": "two words"}, {"name": "../up"}, {"name": "x" * 64}, {"batch": "slurm"},
        {"api_auth_type": "hope"}, {"api_chunk_size": 0}, {"api_limit": 0}, {"power": 0}, {"stress_factor": 0},
    ],
    ids=str,
)  # fmt: skip
def test_clusters_are_whole(unchecked, values):
    key = unchecked.cluster()
    with pytest.raises(IntegrityError, match="check constraint"):
        unchecked.update(Cluster, key, **values)


def test_names_of_clusters_are_unique_among_those_present(unchecked):
    gone = unchecked.cluster("mini")
    with pytest.raises(IntegrityError, match="clusters_name"):
        unchecked.cluster("mini")
    unchecked.update(Cluster, gone, removed_at=text("now()"))
    assert unchecked.cluster("mini") != gone


@pytest.fixture
def submission(unchecked, active):
    row = unchecked.submission(active[1]["submission_id"])
    names = ("name", "campaign_id", "cluster_id", "login", "url_generation", "size", "remote_clock")
    return row.id, {name: getattr(row, name) for name in names}


def test_a_name_is_used_once(unchecked, submission):
    with pytest.raises(IntegrityError, match="submissions_name"):
        unchecked.insert(Submission, **submission[1])


@pytest.mark.parametrize(
    "values",
    [
        {"name": "x" * 61}, {"size": 0}, {"settled_at": None}, {"state": "sending"}, {"void_jobs": [1]},
        {"void_tasks": [1, 2], "void_jobs": [1]},
    ],
    ids=str,
)  # fmt: skip
def test_submissions_are_whole(unchecked, submission, values):
    with pytest.raises(IntegrityError, match="check constraint"):
        unchecked.update(Submission, submission[0], **values)


def test_a_closed_event_has_a_date(unchecked):
    key = unchecked.insert(Event, class_="log", code="ALMIGHTY_STARTING")
    with pytest.raises(IntegrityError, match="check constraint"):
        unchecked.update(Event, key, state="closed")
    with pytest.raises(IntegrityError, match="check constraint"):
        unchecked.update(Event, key, date_closed=text("now()"))


def test_there_is_one_grid(unchecked):
    with pytest.raises(IntegrityError), unchecked.transaction() as session:
        session.execute(
            text("INSERT INTO grid (only_row, id, system_identifier, timeline) VALUES (true, 'abcdef01', 1, 1)")
        )
    with pytest.raises(IntegrityError), unchecked.transaction() as session:
        session.execute(text("UPDATE grid SET only_row = false"))
    with pytest.raises(IntegrityError), unchecked.transaction() as session:
        session.execute(text("UPDATE grid SET id = 'NOT HEX!'"))
