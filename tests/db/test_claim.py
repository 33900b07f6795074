"""Taking tasks out of the bag: under the allowance, by two at once, against pausing and cancelling."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from sqlalchemy import text

from cigri.core.scheduling import Grant
from cigri.core.states import JobState, SubmissionState, TaskState
from cigri.db import allowances, campaigns, events
from cigri.db.tables import Task

ACTIVE, PENDING = TaskState.ACTIVE, TaskState.PENDING


@pytest.fixture
def cluster(books):
    return books.cluster()


def test_what_is_claimed_is_on_record_before_it_is_sent(books, cluster):
    campaign = books.campaign([cluster], 5, user="bob")
    books.allow(cluster, campaign, 3)
    claimed = books.claim(cluster, campaign)
    assert (claimed.login, claimed.campaign_id, claimed.jdl) == ("bob", campaign, {"name": "sample"})
    assert [line for _, line in claimed.lines] == ["name0 0", "name1 1", "name2 2"]
    job = books.job(claimed.lines[0][0])
    assert (job.state, job.cluster_id, job.remote_id) == (JobState.LAUNCHING, cluster, None)
    submission = books.submission(claimed.submission_id)
    assert (submission.state, submission.name, submission.size) == (SubmissionState.SENDING, claimed.name, 3)
    assert books.tasks(campaign) == {ACTIVE: 3, PENDING: 2}
    assert books.allowance(cluster, campaign).tasks == 0


def test_lines_go_with_their_own_job(books, cluster):
    campaign = books.campaign([cluster], 50)
    books.allow(cluster, campaign, 50)
    claimed = books.claim(cluster, campaign)
    assert [job_id for job_id, _ in claimed.lines] == sorted(job_id for job_id, _ in claimed.lines)
    assert all(books.task_of(job_id).line == line for job_id, line in claimed.lines[::7])


def test_urgent_tasks_first_then_the_oldest(books, cluster):
    campaign = books.campaign([cluster], 4)
    with books.transaction() as session:
        ids = [row.id for row in session.execute(text("SELECT id FROM tasks ORDER BY id"))]
    books.update(Task, ids[3], priority=20)
    books.update(Task, ids[0], priority=0)
    books.allow(cluster, campaign, 4)
    taken = [books.claim(cluster, campaign, 1).lines[0][1] for _ in range(4)]
    assert taken == ["name3 3", "name1 1", "name2 2", "name0 0"]


def test_never_more_than_the_allowance(books, cluster):
    campaign = books.campaign([cluster], 20)
    books.allow(cluster, campaign, 7)
    sizes = []
    while (claimed := books.claim(cluster, campaign, 3)) is not None:
        sizes.append(len(claimed.lines))
    assert sizes == [3, 3, 1] and books.tasks(campaign) == {ACTIVE: 7, PENDING: 13}


def test_nothing_without_an_allowance(books, cluster):
    campaign = books.campaign([cluster])
    assert books.claim(cluster, campaign) is None
    other = books.cluster("other")
    books.allow(other, campaign, 3)
    assert books.claim(cluster, campaign) is None


def test_an_allowance_for_tasks_that_are_gone_is_used_up(books, cluster):
    campaign = books.campaign([cluster], 1)
    books.submit(cluster, campaign, 1)
    books.allow(cluster, campaign, 5)
    assert books.claim(cluster, campaign) is None
    assert books.allowance(cluster, campaign).tasks == 0


def test_nothing_of_a_paused_campaign_until_it_is_resumed(books, cluster):
    campaign = books.campaign([cluster])
    books.allow(cluster, campaign, 3)
    with books.transaction() as session:
        campaigns.pause(session, campaign)
    assert books.claim(cluster, campaign) is None
    with books.transaction() as session:
        campaigns.resume(session, campaign)
    assert len(books.claim(cluster, campaign).lines) == 3


def test_nothing_of_a_cancelled_campaign(books, cluster):
    campaign = books.campaign([cluster])
    books.allow(cluster, campaign, 3)
    with books.transaction() as session:
        campaigns.cancel(session, campaign)
    assert books.claim(cluster, campaign) is None
    assert books.tasks(campaign) == {TaskState.CANCELLED: 3}


@pytest.mark.parametrize("code", ["TIMEOUT", "CLUSTER_MANUALLY_DISABLED", "RUNNER_SUBMIT_ERROR"])
def test_nothing_while_blacklisted(books, cluster, code):
    healthy = books.cluster("healthy")
    campaign = books.campaign([cluster, healthy])
    with books.transaction() as session:
        event_id = events.record(session, events.News(code, campaign_id=campaign, cluster_id=cluster))
        allowances.write(session, {cluster: [Grant(campaign, 1)], healthy: [Grant(campaign, 1)]})
    assert books.claim(cluster, campaign) is None
    assert books.claim(healthy, campaign) is not None
    with books.transaction() as session:
        assert events.close(session, [event_id]) == {event_id}
    assert books.claim(cluster, campaign) is not None


def test_a_blacklisted_campaign_keeps_nobody_else_out(books, cluster):
    refused, other = books.campaign([cluster]), books.campaign([cluster])
    with books.transaction() as session:
        events.record(session, events.News("RUNNER_SUBMIT_ERROR", campaign_id=refused, cluster_id=cluster))
        allowances.write(session, {cluster: [Grant(refused, 1), Grant(other, 1)]})
    assert books.claim(cluster, refused) is None and books.claim(cluster, other) is not None


def test_two_open_transactions_never_take_the_same_task(books, cluster, other_engine):
    second = books.cluster("second")
    campaign = books.campaign([cluster, second], 5)
    with books.transaction() as session:
        allowances.write(session, {cluster: [Grant(campaign, 3)], second: [Grant(campaign, 5)]})
    with books.transaction(cluster) as one, type(books)(other_engine).transaction(second) as other:
        first = books.claim_in(one, cluster, campaign)
        rest = books.claim_in(other, second, campaign)
    assert [line for _, line in first.lines] == ["name0 0", "name1 1", "name2 2"]
    assert [line for _, line in rest.lines] == ["name3 3", "name4 4"]


def test_two_of_one_cluster_share_one_allowance(books, cluster, other_engine):
    """A runner that lost its duty and its successor: the second waits, and takes what is left."""
    campaign = books.campaign([cluster], 10)
    books.allow(cluster, campaign, 4)
    taken = []

    def successor():
        with type(books)(other_engine).transaction(cluster) as session:
            taken.append(books.claim_in(session, cluster, campaign, 3))

    thread = threading.Thread(target=successor)
    with books.transaction(cluster) as session:
        first = books.claim_in(session, cluster, campaign, 3)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive(), "the allowance is locked until the first has committed"
    thread.join()
    assert (len(first.lines), len(taken[0].lines)) == (3, 1)


def test_many_at_once_take_each_task_once(books):
    places = [books.cluster(f"c{number}") for number in range(4)]
    campaign = books.campaign(places, 60)
    with books.transaction() as session:
        allowances.write(session, {place: [Grant(campaign, 25)] for place in places})
    taken = Counter()

    def take(place):
        while (claimed := books.claim(place, campaign, 4)) is not None:
            taken.update({line: 1 for _, line in claimed.lines})

    threads = [threading.Thread(target=take, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Who finds only locked tasks gives up its allowance until the next deal: at most the last of them are left.
    assert set(taken.values()) == {1}
    assert books.tasks(campaign)[ACTIVE] == len(taken) >= 40


@pytest.mark.parametrize("change", [campaigns.pause, campaigns.cancel])
def test_pausing_and_cancelling_wait_for_a_claim_and_see_it(books, cluster, other_engine, change):
    campaign = books.campaign([cluster], 3)
    books.allow(cluster, campaign, 2)
    results = []

    def change_it():
        with type(books)(other_engine).transaction() as session:
            results.append(change(session, campaign))

    thread = threading.Thread(target=change_it)
    with books.transaction(cluster) as session:
        claimed = books.claim_in(session, cluster, campaign)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join()
    assert len(claimed.lines) == 2 and len(results) == 1
    if change is campaigns.cancel:
        assert results == [2], "the jobs of the claim that came first are marked"
        assert all(books.job(job_id).kill_reason == "cancelled" for job_id, _ in claimed.lines)
        assert books.tasks(campaign) == {ACTIVE: 2, TaskState.CANCELLED: 1}


@pytest.mark.parametrize("change", [campaigns.pause, campaigns.cancel])
def test_a_claim_during_pausing_or_cancelling_takes_nothing(books, cluster, other_engine, change):
    campaign = books.campaign([cluster], 3)
    books.allow(cluster, campaign, 2)
    results = []

    def runner():
        results.append(type(books)(other_engine).claim(cluster, campaign))

    thread = threading.Thread(target=runner)
    with books.transaction() as session:
        change(session, campaign)
        thread.start()
        thread.join(5)
        assert results == [None], "it does not wait: other campaigns are served meanwhile"
    thread.join()


@pytest.mark.parametrize("before", [1, 2, 10])
def test_no_more_than_allowed_is_taken_however_few_tasks_the_planner_knows(books, cluster, before):
    """The first campaigns of a new grid: its tables were analysed when next to nothing was there."""
    books.campaign([cluster], before)
    with books.transaction() as session:
        session.execute(text("ANALYZE tasks"))
    campaign = books.campaign([cluster], 40)
    books.allow(cluster, campaign, 3)
    found = books.claim(cluster, campaign)
    assert found is not None and len(found.lines) == 3
