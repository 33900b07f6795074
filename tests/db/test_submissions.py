"""What becomes of a submission: settled whole or in part, void, refused; also of a campaign that was cancelled."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select

from cigri.core.states import JobState, SubmissionState, TaskState
from cigri.db import campaigns, clusters, events, submissions
from cigri.db.submissions import MAX_RETURNS, Adopted
from cigri.db.tables import Job

ACTIVE, PENDING, CANCELLED = TaskState.ACTIVE, TaskState.PENDING, TaskState.CANCELLED


@pytest.fixture
def sent(books, cluster, campaign):
    books.allow(cluster, campaign, 3)
    return books.claim(cluster, campaign)


def settle(books, cluster, sent, found):
    with books.transaction(cluster) as session:
        return submissions.settle(session, sent.submission_id, found, 77)


def cancel(books, campaign):
    with books.transaction() as session:
        return campaigns.cancel(session, campaign)


def jobs_of(books, sent):
    with books.transaction() as session:
        return list(session.scalars(select(Job).where(Job.submission_id == sent.submission_id).order_by(Job.id)))


def test_unsettled_until_it_is_settled(books, cluster, campaign, sent):
    with books.transaction() as session:
        waiting = submissions.unsettled(session, cluster)
        assert submissions.unsettled(session, cluster + 1) == []
    assert [(each.id, each.name, each.login, each.size) for each in waiting] == [
        (sent.submission_id, sent.name, "alice", 3)
    ]
    assert waiting[0].job_ids == {job_id for job_id, _ in sent.lines} and 0 <= waiting[0].age < 60
    assert settle(books, cluster, sent, books.adopted(sent)) == []
    with books.transaction() as session:
        assert submissions.unsettled(session, cluster) == []


def test_settled_whole(books, cluster, campaign, sent):
    found = books.adopted(sent)
    settle(books, cluster, sent, found)
    assert [(job.state, job.remote_id, job.array_index) for job in jobs_of(books, sent)] == [
        (JobState.SUBMITTED, each.remote_id, each.array_index) for each in found
    ]
    submission = books.submission(sent.submission_id)
    assert (submission.state, submission.array_id, submission.void_jobs) == (SubmissionState.SETTLED, 77, [])


def test_half_an_array_gives_the_rest_back(books, cluster, campaign, sent):
    here, *gone = books.adopted(sent)
    tasks = {each.job_id: books.task_of(each.job_id).id for each in gone}
    assert sorted(settle(books, cluster, sent, [here])) == sorted(tasks.values())
    assert books.tasks(campaign) == {ACTIVE: 1, PENDING: 3}
    submission = books.submission(sent.submission_id)
    assert dict(zip(submission.void_jobs, submission.void_tasks, strict=True)) == tasks


def test_a_chain_is_stored_whole(books, cluster, campaign, sent):
    job_id = sent.lines[0][0]
    settle(books, cluster, sent, [Adopted(job_id, 30, 1, chain=(10, 20))])
    assert (books.job(job_id).remote_id, books.job(job_id).chain) == (30, [10, 20])


def test_settling_twice_changes_nothing(books, cluster, campaign, sent):
    found = books.adopted(sent)
    settle(books, cluster, sent, found)
    assert settle(books, cluster, sent, [Adopted(each.job_id, 1, 9) for each in found]) == []
    assert [job.remote_id for job in jobs_of(books, sent)] == [each.remote_id for each in found]


def test_jobs_of_another_submission_are_not_adopted(books, cluster, campaign, sent):
    books.allow(cluster, campaign, 1)
    other = books.claim(cluster, campaign)
    settle(books, cluster, sent, [*books.adopted(sent), *books.adopted(other)])
    assert [job.state for job in jobs_of(books, other)] == [JobState.LAUNCHING]


def test_a_void_submission_gives_its_tasks_back_and_keeps_its_name(books, cluster, campaign, sent):
    with books.transaction(cluster) as session:
        assert submissions.void(session, sent.submission_id, "nothing was sent", counted=False) is False
    assert books.tasks(campaign) == {PENDING: 4} and jobs_of(books, sent) == []
    submission = books.submission(sent.submission_id)
    assert (submission.state, submission.message) == (SubmissionState.VOID, "nothing was sent")
    assert submission.void_jobs == [job_id for job_id, _ in sent.lines] and len(submission.void_tasks) == 3


def test_the_third_absence_in_a_row_is_told_and_the_count_begins_again(books, cluster, campaign):
    def lose():
        books.allow(cluster, campaign, 4)
        claimed = books.claim(cluster, campaign)
        with books.transaction(cluster) as session:
            return submissions.void(session, claimed.submission_id, "absent", counted=True)

    assert MAX_RETURNS == 3
    assert [lose() for _ in range(4)] == [False, False, True, False]


def test_an_arrival_ends_the_row_of_absences(books, cluster, campaign):
    for _ in range(2):
        books.allow(cluster, campaign, 4)
        claimed = books.claim(cluster, campaign)
        with books.transaction(cluster) as session:
            submissions.void(session, claimed.submission_id, "absent", counted=True)
    jobs = books.submit(cluster, campaign, 4)
    books.finish(cluster, dict.fromkeys(jobs, books.preempted))
    assert {books.task_of(job_id).returns for job_id in jobs} == {0}


def test_what_was_never_sent_counts_as_no_absence(books, cluster, campaign, sent):
    with books.transaction(cluster) as session:
        submissions.void(session, sent.submission_id, "unreachable", counted=False)
    books.allow(cluster, campaign, 4)
    assert {books.task_of(job_id).returns for job_id, _ in books.claim(cluster, campaign).lines} == {0}


def test_a_refused_submission_ends_its_jobs_and_gives_the_tasks_back(books, cluster, campaign, sent):
    with books.transaction(cluster) as session:
        submissions.refuse(session, sent.submission_id, events.News("RUNNER_SUBMIT_ERROR", "no", campaign, cluster))
    assert books.tasks(campaign) == {PENDING: 4}
    event = books.events("RUNNER_SUBMIT_ERROR")[0]
    assert {(job.state, job.outcome, job.event_id) for job in jobs_of(books, sent)} == {
        (JobState.EVENT, "refused", event.id)
    }
    assert books.submission(sent.submission_id).state is SubmissionState.REFUSED
    books.allow(cluster, campaign, 4)
    assert books.claim(cluster, campaign) is None, "the campaign is blacklisted there"


def refuse(session, sent, cluster):
    submissions.refuse(session, sent.submission_id, events.News("RUNNER_SUBMIT_ERROR", "no", sent.campaign_id, cluster))


FATES = {
    "settled with nothing there": lambda session, sent, _: submissions.settle(session, sent.submission_id, [], None),
    "void": lambda session, sent, _: submissions.void(session, sent.submission_id, "", counted=True),
    "refused": refuse,
}


@pytest.mark.parametrize("fate", FATES.values(), ids=FATES)
def test_what_comes_back_to_a_cancelled_campaign_is_cancelled(books, cluster, campaign, sent, fate):
    assert cancel(books, campaign) == 3
    with books.transaction(cluster) as session:
        fate(session, sent, cluster)
    assert books.tasks(campaign) == {CANCELLED: 4}


def test_what_arrived_of_a_cancelled_campaign_is_to_be_killed(books, cluster, campaign, sent):
    cancel(books, campaign)
    settle(books, cluster, sent, books.adopted(sent))
    assert {job.kill_reason for job in jobs_of(books, sent)} == {"cancelled"}
    assert books.tasks(campaign) == {ACTIVE: 3, CANCELLED: 1}


@pytest.mark.parametrize("fate", FATES.values(), ids=FATES)
def test_cancelling_waits_for_tasks_that_are_just_coming_back(books, cluster, campaign, sent, fate, other_engine):
    thread = threading.Thread(target=cancel, args=(type(books)(other_engine), campaign))
    with books.transaction(cluster) as session:
        fate(session, sent, cluster)
        thread.start()
        thread.join(0.15)
        assert thread.is_alive()
    thread.join()
    assert books.tasks(campaign) == {CANCELLED: 4}


@pytest.mark.parametrize("fate", FATES.values(), ids=FATES)
def test_tasks_that_come_back_wait_for_a_cancelling_and_see_it(books, cluster, campaign, sent, fate, other_engine):
    def end():
        with type(books)(other_engine).transaction(cluster) as session:
            fate(session, sent, cluster)

    thread = threading.Thread(target=end)
    with books.transaction() as session:
        campaigns.cancel(session, campaign)
        thread.start()
        thread.join(0.15)
        assert thread.is_alive()
    thread.join()
    assert books.tasks(campaign) == {CANCELLED: 4}


def test_the_slowest_answer_and_the_usual_are_remembered(books, cluster):
    for seconds in ([2.5], [], [0.1, 3.5], *[[2.0, 2.0]] * 30):
        with books.transaction() as session:
            submissions.note_durations(session, cluster, seconds)
    with books.transaction() as session:
        assert clusters.status(session, cluster).slowest_submission == 3.5
        assert clusters.status(session, cluster).submission_time == pytest.approx(2.0, abs=0.01)
