"""Marks: who is marked, when a deletion is due, and that a mark moves nothing."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from cigri.core.states import JobKind, JobState, TaskState
from cigri.db import jobs, kills
from cigri.db.kills import KillReason
from cigri.db.tables import Job


@pytest.fixture
def campaign(books, cluster):
    return books.campaign([cluster], 6)


@pytest.fixture
def there(books, cluster, campaign):
    return books.submit(cluster, campaign, 3)


def due(books, cluster, limit=100):
    with books.transaction() as session:
        return [each.id for each in kills.due(session, cluster, limit)]


def mark(books, job_ids, reason=KillReason.USER):
    with books.transaction() as session:
        return kills.mark_jobs(session, job_ids, reason)


def test_a_mark_moves_nothing(books, cluster, campaign, there):
    assert mark(books, there[:1]) == {there[0]}
    assert books.job(there[0]).state is JobState.SUBMITTED and books.tasks(campaign)[TaskState.ACTIVE] == 3
    assert due(books, cluster) == there[:1]


def test_what_is_due_is_told_with_the_name_that_makes_it_ours(books, cluster, there):
    mark(books, there[:1], KillReason.WALLTIME)
    with books.transaction() as session:
        doomed = kills.due(session, cluster, 1)[0]
    job = books.job(there[0])
    assert (doomed.remote_id, doomed.login, doomed.reason) == (job.remote_id, "alice", KillReason.WALLTIME)
    assert doomed.name == books.submission(job.submission_id).name


def test_the_first_mark_stays(books, cluster, there):
    mark(books, there[:1], KillReason.USER)
    before = books.job(there[0]).kill_at
    assert mark(books, there[:2], KillReason.CANCELLED) == {there[1]}
    assert (books.job(there[0]).kill_reason, books.job(there[0]).kill_at) == ("user", before)


def test_a_mark_that_would_be_taken_back_gives_way_to_one_that_stays(books, cluster, there):
    mark(books, there, KillReason.QUEUED)
    assert mark(books, there[:1], KillReason.CANCELLED) == {there[0]}
    with books.transaction() as session:
        for job_id in there:
            kills.unmark(session, job_id)
    assert [books.job(job_id).kill_reason for job_id in there[:2]] == ["cancelled", None]


def test_what_has_ended_is_not_marked(books, cluster, there):
    books.finish(cluster, {there[0]: books.failed})
    assert mark(books, [*there, 10**9]) == set(there[1:])


def test_what_has_ended_is_not_due(books, cluster, there):
    mark(books, there)
    books.finish(cluster, {there[0]: books.cancelled, there[1]: books.success})
    assert due(books, cluster) == there[2:]


def test_what_is_being_sent_is_due_once_it_is_there(books, cluster, campaign):
    books.allow(cluster, campaign, 1)
    claimed = books.claim(cluster, campaign)
    job_id = claimed.lines[0][0]
    assert mark(books, [job_id]) == {job_id} and due(books, cluster) == []
    with books.transaction() as session:
        assert kills.clusters_due(session) == []
        jobs.move(session, [job_id], JobState.LAUNCHING, JobState.SUBMITTED, remote_id=5)
        session.execute(text("UPDATE submissions SET state = 'settled', settled_at = now()"))
    assert due(books, cluster) == [job_id]
    with books.transaction() as session:
        assert kills.clusters_due(session) == [cluster]


def test_a_campaign_is_marked_but_for_its_epilogues(books, cluster, campaign, there):
    job = books.job(there[0])
    known = {"campaign_id": campaign, "cluster_id": cluster, "submission_id": job.submission_id, "remote_id": 4}
    epilogue = books.insert(Job, kind=JobKind.EPILOGUE, state=JobState.RUNNING, **known)
    prologue = books.insert(Job, kind=JobKind.PROLOGUE, state=JobState.TO_LAUNCH, **known)
    other = books.submit(cluster, books.campaign([cluster], 1), 1)[0]
    with books.transaction() as session:
        assert kills.mark_campaign(session, campaign, KillReason.CANCELLED) == 4
        assert kills.mark_campaign(session, campaign, KillReason.CANCELLED) == 0
    marked = {job_id for job_id in (*there, epilogue, prologue, other) if books.job(job_id).kill_at}
    assert marked == {*there, prologue}


def test_deletions_are_sent_again_after_growing_delays(books, cluster, there):
    mark(books, there[:1])
    delays = []
    for _ in range(8):
        with books.transaction() as session:
            kills.put_off(session, there[:1], first_delay=10.0)
            left = session.execute(
                text("SELECT extract(epoch FROM kill_next - now()) FROM jobs WHERE kill_at IS NOT NULL")
            )
            delays.append(float(left.scalar_one()))
    assert delays == [10, 20, 40, 80, 160, 320, 600, 600] and books.job(there[0]).kill_tries == 8
    assert due(books, cluster) == []
    books.update(Job, there[0], kill_tries=32000)
    with books.transaction() as session:
        kills.put_off(session, there[:1], first_delay=10.0)
    assert books.job(there[0]).kill_tries == 32000, "for ever, and the counter does not overflow"


def test_the_most_urgent_first(books, cluster, there):
    mark(books, there)
    for job_id, age in zip(there, (1, 3, 2), strict=True):
        books.update(Job, job_id, kill_next=text(f"now() - interval '{age} s'"))
    assert due(books, cluster) == [there[1], there[2], there[0]] and due(books, cluster, 2) == [there[1], there[2]]


def test_marks_can_be_taken_back(books, cluster, there):
    mark(books, there, KillReason.QUEUED)
    with books.transaction() as session:
        for job_id in there[:2]:
            kills.unmark(session, job_id)
    assert due(books, cluster) == there[2:] and books.job(there[0]).kill_reason is None


def test_over_the_walltime_by_the_clusters_own_clock(books, cluster, there):
    with books.transaction() as session:
        jobs.move(session, there[:2], JobState.SUBMITTED, JobState.RUNNING)
        # 25 hours: as long as that, an interval is not a time of day.
        jobs.started(session, [(there[0], 1000.0, 90000, 1, ""), (there[1], 1000.0, None, 1, "")])
        assert kills.mark_overdue(session, cluster, 1000.0 + 90000 + 599, grace=600) == set()
        assert kills.mark_overdue(session, cluster, 1000.0 + 90000 + 601, grace=600) == {there[0]}
    assert books.job(there[0]).kill_reason == "walltime"


def test_waiting_too_long(books, cluster, there):
    with books.transaction() as session:
        jobs.move(session, there[1:2], JobState.SUBMITTED, JobState.REMOTE_WAITING)
        jobs.move(session, there[2:], JobState.SUBMITTED, JobState.RUNNING)
    for job_id in there:
        books.update(Job, job_id, created_at=text("now() - interval '2 days'"))
    with books.transaction() as session:
        assert kills.mark_queued_too_long(session, cluster, 3 * 86400) == set()
        assert kills.mark_queued_too_long(session, cluster, 86400) == set(there[:2])


def test_other_clusters_are_left_alone(books, cluster, there):
    mark(books, there)
    assert due(books, books.cluster("other")) == []
