"""What the sweep asks of the database, and how a run that was given up still counts once."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from cigri.core.states import JobState, SubmissionState, TaskState
from cigri.core.sweeping import Known
from cigri.db import events, strays, submissions
from cigri.db.tables import Task


@pytest.fixture
def there(books, cluster, campaign):
    return books.submit(cluster, campaign, 2)


def name_of(books, job_id):
    return books.submission(books.job(job_id).submission_id).name


def known(books, *pairs):
    with books.transaction() as session:
        found = strays.known(session, pairs)
    return [found[pair] for pair in pairs]


def count(books, task_id):
    with books.transaction() as session:
        return strays.count_success(session, session.get_one(Task, task_id).campaign_id, task_id)


def absent(books, cluster, campaign):
    """A submission that was taken as absent."""
    books.allow(cluster, campaign, 2)
    claimed = books.claim(cluster, campaign)
    tasks = [books.task_of(job_id).id for job_id, _ in claimed.lines]
    with books.transaction(cluster) as session:
        submissions.void(session, claimed.submission_id, "absent", counted=True)
    return claimed, tasks


def test_followed_jobs(books, there):
    stray = known(books, (name_of(books, there[0]), there[0]))[0]
    remote_id = books.job(there[0]).remote_id
    assert stray.known == Known(SubmissionState.SETTLED, JobState.SUBMITTED, (remote_id,), TaskState.ACTIVE)
    assert stray.task_id == books.task_of(there[0]).id


def test_keys_of_a_void_submission_lead_to_their_tasks(books, cluster, campaign):
    claimed, tasks = absent(books, cluster, campaign)
    found = known(books, *((claimed.name, job_id) for job_id, _ in claimed.lines))
    assert [stray.task_id for stray in found] == tasks
    assert found[0].known == Known(SubmissionState.VOID, None, (), TaskState.PENDING)
    assert found[0].campaign_id == campaign


def test_unknown_names_and_keys(books, cluster, campaign, there):
    other = books.submit(cluster, campaign, 1)[0]
    mine = name_of(books, there[0])
    stranger, keyless, wrong_key, not_its_own = known(
        books, ("cigri.00000000.1.x", there[0]), (mine, None), (mine, 10**9), (mine, other)
    )
    assert stranger == strays.Stray(Known())
    assert all(each.known == Known(SubmissionState.SETTLED) for each in (keyless, wrong_key, not_its_own))
    assert {each.task_id for each in (keyless, wrong_key, not_its_own)} == {None}


def test_a_late_success_is_counted_once_and_the_other_try_killed(books, cluster, campaign):
    claimed, tasks = absent(books, cluster, campaign)
    again = books.submit(cluster, campaign, 2)
    assert count(books, tasks[0]) and not count(books, tasks[0])
    assert books.task_of(again[0]).state is TaskState.DONE
    assert [books.job(job_id).kill_reason for job_id in again] == ["surplus", None]
    books.finish(cluster, {again[0]: books.preempted})
    assert books.tasks(campaign)[TaskState.DONE] == 1


@pytest.mark.parametrize("end", ["failed", "preempted", "cancelled"])
def test_a_late_success_counts_wherever_its_task_went(books, cluster, campaign, there, end):
    books.finish(cluster, {there[0]: getattr(books, end)})
    assert count(books, books.task_of(there[0]).id)
    assert books.task_of(there[0]).state is TaskState.DONE


def test_a_success_in_the_bag_is_not_claimed_again(books, cluster, campaign):
    _, tasks = absent(books, cluster, campaign)
    count(books, tasks[0])
    books.allow(cluster, campaign, 4)
    assert len(books.claim(cluster, campaign).lines) == 3


def test_which_jobs_need_no_second_look(books, cluster, campaign, there):
    books.finish(cluster, {there[0]: books.failed})
    more = books.submit(cluster, campaign, 2)
    books.finish(cluster, {more[0]: books.success})
    ids = {job_id: books.job(job_id).remote_id for job_id in (*there, *more)}
    with books.transaction() as session:
        seen = [(name_of(books, job_id), remote_id) for job_id, remote_id in ids.items()]
        found = strays.accounted(session, cluster, seen)
        assert strays.accounted(session, cluster + 1, seen) == set()
    assert found == {(name_of(books, job_id), ids[job_id]) for job_id in (there[1], *more)}


def test_while_something_given_up_may_turn_up(books, cluster, campaign, there):
    with books.transaction() as session:
        assert not strays.expected(session, cluster, 600)
    absent(books, cluster, campaign)
    with books.transaction() as session:
        assert strays.expected(session, cluster, 600) and not strays.expected(session, cluster + 1, 600)
        session.execute(text("UPDATE submissions SET settled_at = settled_at - interval '601 s'"))
        assert not strays.expected(session, cluster, 600)


def test_half_an_array_may_turn_up_later_too(books, cluster, campaign):
    books.allow(cluster, campaign, 2)
    claimed = books.claim(cluster, campaign)
    with books.transaction(cluster) as session:
        submissions.settle(session, claimed.submission_id, books.adopted(claimed)[:1], None)
        assert strays.expected(session, cluster, 600)


def test_whose_jobs_are_looked_at(books, cluster, campaign, there):
    books.submit(cluster, books.campaign([cluster], 1, user="bob"), 1)
    gone = books.campaign([cluster], 1, user="carol")
    books.finish(cluster, dict.fromkeys(books.submit(cluster, gone, 1), books.success))
    with books.transaction() as session:
        assert [login for login, _ in strays.logins(session, cluster, 3600)] == ["alice", "bob", "carol"]
        session.execute(text("UPDATE submissions SET sent_at = sent_at - interval '2 h'"))
        assert [login for login, _ in strays.logins(session, cluster, 3600)] == ["alice", "bob"]


def test_what_was_told_is_told(books, cluster, campaign):
    with books.transaction() as session:
        assert not strays.told(session, "STRAY_JOB", cluster, "name/7")
        events.record(session, events.News("STRAY_JOB", "", campaign, cluster, alike="name/7"))
        assert strays.told(session, "STRAY_JOB", cluster, "name/7")
        assert not strays.told(session, "STRAY_JOB", cluster, "name/8")
        assert not strays.told(session, "DUPLICATE_RUN", cluster, "name/7")
