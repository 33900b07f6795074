"""A task that failed on a cluster is left to the other clusters of its campaign for a while."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from cigri.core.control import Load
from cigri.core.finish import Speed
from cigri.core.outcome import Policy, Sign
from cigri.core.states import TaskState
from cigri.db import allowances, events
from cigri.db.tables import Cluster

from .conftest import ending

NOBODY = Load(0, 0, None, 0, 0.0)
again = ending(256, policy=Policy(max_retries=3))


@pytest.fixture
def cluster(books):
    return books.cluster()


@pytest.fixture
def other(books):
    return books.cluster("other", power=4)


def backlog(books, cluster):
    with books.transaction() as session:
        flying = allowances.flying(session)
        return {
            each.campaign_id: each.pending for each in allowances.backlogs(session, {cluster: NOBODY}, flying)[cluster]
        }


def claimed(books, cluster, campaign):
    books.allow(cluster, campaign, 9)
    found = books.claim(cluster, campaign)
    return 0 if found is None else len(found.lines)


@pytest.mark.parametrize("verdict", [again, ending(None, Sign("WALLTIME"))], ids=["exit", "walltime"])
def test_what_failed_here_is_left_to_others(books, cluster, other, verdict):
    campaign = books.campaign([cluster, other], 1)
    (job,) = books.submit(cluster, campaign, 1)
    books.finish(cluster, {job: verdict})
    assert books.tasks(campaign) == {TaskState.PENDING: 1}
    assert backlog(books, cluster) == {campaign: 0} and backlog(books, other) == {campaign: 1}
    assert claimed(books, cluster, campaign) == 0
    assert claimed(books, other, campaign) == 1


def test_but_not_for_ever(books, cluster, other):
    campaign = books.campaign([cluster, other], 1)
    (job,) = books.submit(cluster, campaign, 1)
    books.finish(cluster, {job: again})
    with books.transaction() as session:
        session.execute(text("UPDATE tasks SET elsewhere_until = now() - interval '1 s'"))
    assert backlog(books, cluster) == {campaign: 1} and claimed(books, cluster, campaign) == 1


@pytest.mark.parametrize("why", ["it is the only one", "the other is disabled", "the other refuses the campaign"])
def test_where_there_is_no_other_cluster_it_is_tried_here(books, cluster, other, why):
    campaign = books.campaign([cluster] if why == "it is the only one" else [cluster, other], 1)
    if why == "the other is disabled":
        books.update(Cluster, other, enabled=False)
    if why == "the other refuses the campaign":
        with books.transaction() as session:
            events.record(session, events.News("RUNNER_SUBMIT_ERROR", campaign_id=campaign, cluster_id=other))
    (job,) = books.submit(cluster, campaign, 1)
    books.finish(cluster, {job: again})
    assert backlog(books, cluster) == {campaign: 1} and claimed(books, cluster, campaign) == 1


def test_being_preempted_is_no_reason_to_go_elsewhere(books, cluster, other):
    campaign = books.campaign([cluster, other], 1)
    (job,) = books.submit(cluster, campaign, 1)
    books.finish(cluster, {job: books.preempted})
    assert claimed(books, cluster, campaign) == 1


@pytest.mark.parametrize("where", ["there", "elsewhere"])
def test_what_came_back_after_that_may_go_there_again(books, cluster, other, where):
    """Being preempted, on the same cluster or another, does not shut a task out of where it failed once."""
    campaign = books.campaign([cluster, other], 1)
    (job,) = books.submit(cluster, campaign, 1)
    books.finish(cluster, {job: again})
    with books.transaction() as session:
        session.execute(text("UPDATE tasks SET elsewhere_until = now() - interval '1 s'"))
    second = cluster if where == "there" else other
    (job,) = books.submit(second, campaign, 1)
    books.finish(second, {job: books.preempted})
    assert backlog(books, cluster) == {campaign: 1} and claimed(books, cluster, campaign) == 1


def test_how_quick_the_clusters_are(books, cluster, other):
    campaign = books.campaign([cluster, other], 9)
    there = books.submit(cluster, campaign, 4)
    books.finish(cluster, dict.fromkeys(there[:3], books.success), start_time=100.0, stop_time=130.0)
    books.finish(cluster, {there[3]: books.failed}, start_time=100.0, stop_time=101.0)
    with books.transaction() as session:
        found = allowances.speeds(session, [campaign])
        assert found == {campaign: {cluster: Speed(3, 90.0, 1.0), other: Speed(0, 0.0, 4.0)}}
        assert allowances.speeds(session, []) == {}


def test_what_is_left_to_others_is_known_at_the_end_of_a_campaign(books, cluster, other):
    campaign = books.campaign([cluster, other], 3)
    (job,) = books.submit(cluster, campaign, 1)
    books.finish(cluster, {job: again})
    with books.transaction() as session:
        known = allowances.speeds(session, [campaign])[campaign]
    assert known[cluster].elsewhere == 1 and known[other].elsewhere == 0
