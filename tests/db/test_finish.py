"""The end of a job and the next place of its task: once, together, whatever happened meanwhile."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cigri.core.outcome import Outcome
from cigri.core.states import FOLLOWED, JOB_MOVES, CampaignState, JobState, TaskState
from cigri.db import campaigns, jobs, kills, strays, submissions
from cigri.db.jobs import End, IllegalMove

ACTIVE, PENDING, DONE, FAILED, CANCELLED = (
    TaskState.ACTIVE, TaskState.PENDING, TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED,
)  # fmt: skip


@pytest.fixture
def there(books, cluster, campaign):
    """The jobs of all four tasks, on their cluster."""
    return books.submit(cluster, campaign, 4)


def cancel(books, campaign):
    with books.transaction() as session:
        return campaigns.cancel(session, campaign)


def test_each_kind_of_end(books, cluster, campaign, there):
    one, two, three, four = there
    verdicts = {one: books.success, two: books.failed, three: books.preempted}
    assert books.finish(cluster, verdicts) == {one, two, three}
    assert [books.task_of(job_id).state for job_id in there] == [DONE, FAILED, PENDING, ACTIVE]
    assert [books.job(job_id).state for job_id in there] == [
        JobState.TERMINATED, JobState.EVENT, JobState.EVENT, JobState.SUBMITTED,
    ]  # fmt: skip
    assert [books.job(job_id).outcome for job_id in there] == ["success", "exit", "preempted", None]
    assert books.task_of(three).priority == 20, "what was preempted comes before the rest of the bag"


def test_what_is_known_of_the_end_is_kept(books, cluster, there):
    books.finish(
        cluster, {there[0]: books.failed}, exit_code=256, start_time=1000.0, stop_time=1060.5, node_name="n1,n2",
        resources=2, stdout_path="/home/alice/OAR.1.stdout", stderr_path="/home/alice/OAR.1.stderr",
        word="Terminated", tail="No such file",
    )  # fmt: skip
    job = books.job(there[0])
    assert (job.exit_code, job.node_name, job.resources_used, job.remote_word) == (256, "n1,n2", 2, "Terminated")
    assert (job.start_time.timestamp(), job.stop_time.timestamp()) == (1000.0, 1060.5)
    assert (job.stdout_path, job.stderr_path) == ("/home/alice/OAR.1.stdout", "/home/alice/OAR.1.stderr")
    event = books.events("EXIT_ERROR")[0]
    assert job.event_id == event.id and event.message == "exit code 1\nNo such file"


def test_what_was_known_before_is_not_forgotten(books, cluster, there):
    with books.transaction() as session:
        jobs.started(session, [(there[0], 1000.0, 3600, 4, "n7")])
    books.finish(cluster, {there[0]: books.preempted})
    job = books.job(there[0])
    assert (job.start_time.timestamp(), job.node_name, job.resources_used, job.walltime) == (1000.0, "n7", 4, 3600)


def test_ending_twice_is_ending_once(books, cluster, campaign, there):
    assert books.finish(cluster, {there[0]: books.failed}) == {there[0]}
    assert books.finish(cluster, {there[0]: books.success, there[1]: books.success}) == {there[1]}
    assert books.tasks(campaign) == {FAILED: 1, DONE: 1, ACTIVE: 2}
    assert [event.count for event in books.events("EXIT_ERROR")] == [1]


def test_two_at_once_end_a_job_once(books, cluster, campaign, there, other_engine):
    results = []

    def second():
        results.append(type(books)(other_engine).finish(cluster, dict.fromkeys(there, books.failed)))

    thread = threading.Thread(target=second)
    with books.transaction(cluster) as session:
        first = jobs.finish(session, cluster, [End(job_id, books.success) for job_id in there[:3]])
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join()
    assert first == set(there[:3]) and results == [{there[3]}]
    assert books.tasks(campaign) == {DONE: 3, FAILED: 1}
    assert books.events("EXIT_ERROR")[0].count == 1


def test_nothing_to_end(books, cluster):
    assert books.finish(cluster, {}) == set() and books.finish(cluster, {10**9: books.success}) == set()


def test_alike_failures_are_one_event_with_a_count(books, cluster, campaign):
    other = books.campaign([cluster], 1)
    there = books.submit(cluster, campaign, 4)
    elsewhere = books.submit(cluster, other, 1)
    worse = dataclasses.replace(books.failed, alike="exit code 2")
    books.finish(cluster, {there[0]: books.failed, there[1]: books.failed, there[2]: worse, elsewhere[0]: books.failed})
    books.finish(cluster, {there[3]: books.failed})
    found = [(event.campaign_id, event.alike, event.count, event.job_id) for event in books.events("EXIT_ERROR")]
    assert sorted(found) == sorted(
        [
            (campaign, "exit code 1", 3, there[0]),
            (campaign, "exit code 2", 1, there[2]),
            (other, "exit code 1", 1, elsewhere[0]),
        ]
    )
    assert books.events("EXIT_ERROR")[0].last_job_id == there[3]


def test_ten_thousand_alike_failures_are_one_open_event(books, cluster):
    campaign = books.campaign([cluster], 10_000)
    there = books.submit(cluster, campaign, 10_000)
    for start in range(0, len(there), 500):
        books.finish(cluster, dict.fromkeys(there[start : start + 500], books.failed))
    (event,) = books.events("EXIT_ERROR")
    assert (event.count, event.job_id, event.last_job_id) == (10_000, there[0], there[-1])
    assert len(books.events("BLACKLIST")) == 1


def test_the_bag_of_a_cancelled_campaign_is_closed(books, cluster, campaign, there):
    assert cancel(books, campaign) == 4
    verdicts = dict(zip(there, (books.preempted, books.cancelled, books.success, books.failed), strict=True))
    books.finish(cluster, verdicts)
    assert [books.task_of(job_id).state for job_id in there] == [CANCELLED, CANCELLED, DONE, FAILED]
    assert books.state(campaign) is CampaignState.CANCELLED


def test_cancelling_waits_for_ends_and_cancels_what_came_back(books, cluster, campaign, there, other_engine):
    thread = threading.Thread(target=cancel, args=(type(books)(other_engine), campaign))
    with books.transaction(cluster) as session:
        jobs.finish(session, cluster, [End(job_id, books.preempted) for job_id in there[:2]])
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join()
    assert books.tasks(campaign) == {CANCELLED: 2, ACTIVE: 2}
    assert [books.job(job_id).kill_reason for job_id in there] == [None, None, "cancelled", "cancelled"]


def test_walltimes_are_counted_per_task(books, cluster, campaign):
    for expected in (1, 2):
        job_id = books.submit(cluster, campaign, 1)[0]
        books.finish(cluster, {job_id: dataclasses.replace(books.preempted, outcome=Outcome.WALLTIME)})
        assert books.task_of(job_id).walltimes == expected
    again = books.submit(cluster, campaign, 1)[0]
    assert [job.walltimes for job in books.followed(cluster) if job.id == again] == [2]


def test_a_success_that_is_not_the_first_is_told_and_not_counted(books, cluster, campaign, there):
    """E11."""
    with books.transaction() as session:
        assert strays.count_success(session, campaign, books.task_of(there[0]).id)
    assert books.job(there[0]).kill_reason == kills.KillReason.SURPLUS.value
    books.finish(cluster, {there[0]: books.success})
    assert [(event.job_id, event.campaign_id) for event in books.events("DUPLICATE_RUN")] == [(there[0], campaign)]
    assert books.tasks(campaign) == {DONE: 1, ACTIVE: 3}


def test_a_task_that_is_done_stays_done_whatever_its_other_try_does(books, cluster, campaign, there):
    with books.transaction() as session:
        for job_id in there[:3]:
            strays.count_success(session, campaign, books.task_of(job_id).id)
    books.finish(cluster, dict(zip(there, (books.failed, books.preempted, books.cancelled), strict=False)))
    assert books.tasks(campaign) == {DONE: 3, ACTIVE: 1} and books.events("DUPLICATE_RUN") == []


def test_moves_are_compare_and_set(books, cluster, there):
    with books.transaction() as session:
        assert jobs.move(session, there, JobState.SUBMITTED, JobState.RUNNING) == set()
        assert jobs.move(session, there[:2], JobState.SUBMITTED, JobState.REMOTE_WAITING) == set(there[:2])
        assert jobs.move(session, [*there[:1], 10**9], JobState.RUNNING, JobState.REMOTE_WAITING) == {10**9}
    assert Counter(job.state for job in books.followed(cluster)) == {JobState.RUNNING: 3, JobState.REMOTE_WAITING: 1}


@pytest.mark.parametrize("source", sorted(JobState))
def test_only_the_moves_of_the_table_are_made_and_ends_only_by_finish(books, source):
    for target in sorted(JobState):
        with books.transaction() as session:
            if target in JOB_MOVES[source] and target not in (JobState.TERMINATED, JobState.EVENT):
                assert jobs.move(session, [], source, target) == set()
            else:
                with pytest.raises(IllegalMove):
                    jobs.move(session, [], source, target)


def test_followed_are_those_that_the_cluster_has(books, cluster, campaign, there):
    books.finish(cluster, {there[0]: books.success})
    waiting = books.campaign([cluster], 1)
    books.allow(cluster, waiting, 1)
    books.claim(cluster, waiting)
    followed = books.followed(cluster)
    assert [job.id for job in followed] == there[1:] and all(job.state in FOLLOWED for job in followed)
    assert {job.login for job in followed} == {"alice"} and followed[0].chain == () and followed[0].missing is None
    assert books.followed(books.cluster("other")) == []


def test_a_restarted_job_waits_again_under_its_new_id(books, cluster, there):
    with books.transaction() as session:
        jobs.move(session, there[:1], JobState.SUBMITTED, JobState.RUNNING)
        jobs.started(session, [(there[0], 1000.0, None, 1, "n1")])
        jobs.note_end_seen(session, there[:1])
    before = books.followed(cluster)[0]
    with books.transaction() as session:
        jobs.follow_new_ids(session, [(before.id, before.remote_id, 9001)])
    after = books.followed(cluster)[0]
    assert (after.remote_id, after.chain, after.state) == (9001, (before.remote_id,), JobState.REMOTE_WAITING)
    assert after.end_seen is None and books.job(there[0]).start_time is None
    with books.transaction() as session:
        jobs.follow_new_ids(session, [(before.id, before.remote_id, 9002)])
    assert books.followed(cluster)[0].remote_id == 9001, "whoever looked at an older id is too late"


def test_ends_and_absences_are_dated_by_their_first_sight(books, cluster, there):
    for _ in range(2):
        with books.transaction() as session:
            jobs.note_end_seen(session, there[:1])
            jobs.note_missing(session, there[1:2])
    first = books.job(there[0]).end_seen_at
    with books.transaction() as session:
        jobs.note_end_seen(session, there[:1])
        jobs.forget_missing(session, there[1:2])
    assert books.job(there[0]).end_seen_at == first and books.job(there[1]).missing_at is None
    assert 0 <= books.followed(cluster)[0].end_seen < 60


steps = st.lists(
    st.tuples(st.sampled_from(["submit", "success", "failed", "preempted", "void", "cancel"]), st.integers(1, 5)),
    max_size=12,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_whatever_happens_the_books_balance(books, cluster, steps):
    campaign = books.campaign([cluster], 10)
    there = []
    for what, many in steps:
        if what == "cancel" and books.state(campaign) is CampaignState.IN_TREATMENT:
            cancel(books, campaign)
        elif what in ("submit", "void"):
            books.allow(cluster, campaign, many)
            if (claimed := books.claim(cluster, campaign, many)) is None:
                continue
            found = [] if what == "void" else books.adopted(claimed)
            with books.transaction(cluster) as session:
                submissions.settle(session, claimed.submission_id, found, None)
            there += [each.job_id for each in found]
        elif what in ("success", "failed", "preempted"):
            ending, there = there[:many], there[many:]
            assert books.finish(cluster, dict.fromkeys(ending, getattr(books, what))) == set(ending)
    assert sum(books.progress(campaign).values()) == 10 and books.progress(campaign) == books.tasks(campaign)
    assert books.tasks(campaign)[ACTIVE] == len(there)
    assert books.faults() == []
