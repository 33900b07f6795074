"""What the metascheduler counts is true while it deals, and what it writes replaces what was there."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from cigri.core.control import Load
from cigri.core.scheduling import Grant
from cigri.db import allowances, campaigns, clusters, events
from cigri.db.tables import Cluster


@pytest.fixture
def cluster(books):
    return books.cluster()


def look(books, stress_limit=0.8):
    with books.transaction() as session:
        return {each.cluster_id: each for each in allowances.situations(session, stress_limit)}


def write(books, grants):
    with books.transaction() as session:
        return allowances.write(session, grants)


def granted(books, cluster):
    with books.transaction() as session:
        return allowances.granted(session, cluster)


def note(books, cluster, **fields):
    with books.transaction() as session:
        clusters.note(session, cluster, **fields)


def test_a_cluster_that_nobody_has_counted(books, cluster):
    found = look(books)[cluster]
    assert found.load == Load(0, 0, None, 0, 0.0) and found.backlogs == ()


def test_loads(books, cluster):
    campaign = books.campaign([cluster], 5)
    there = books.submit(cluster, campaign, 4)
    with books.transaction() as session:
        session.execute(
            text("UPDATE jobs SET state = 'running', resources_used = 2 WHERE id = ANY(:ids)"), {"ids": there[:3]}
        )
    note(
        books,
        cluster,
        resources_free=9,
        resources_besteffort=12,
        resources_at=text("now()"),
        jobs_running=1,
        completion_rate=0.5,
    )
    assert look(books)[cluster].load == Load(live=4, running=3, free=4, running_then=1, rate=0.5)


def test_backlogs(books, cluster):
    other = books.cluster("other")
    one = books.campaign([cluster, other], 5, user="alice", max_jobs=3)
    two = books.campaign([cluster], 2, user="bob")
    books.submit(cluster, one, 2)
    found = {place: {each.campaign_id: each for each in seen.backlogs} for place, seen in look(books).items()}
    assert set(found[cluster]) == {one, two} and set(found[other]) == {one}
    here, there = found[cluster][one], found[other][one]
    assert (here.user, here.pending, here.live, here.max_jobs, here.room) == ("alice", 3, 2, 3, 1)
    assert (there.live, there.served, there.room) == (0, 0.0, 3) and here.served > 0
    assert found[cluster][two].served == 0.0


def test_campaigns_that_get_nothing_are_not_there(books, cluster):
    paused, cancelled, refused, elsewhere = (books.campaign([cluster], 1) for _ in range(4))
    elsewhere = books.campaign([books.cluster("other")], 1)
    with books.transaction() as session:
        campaigns.pause(session, paused)
        campaigns.cancel(session, cancelled)
        events.record(session, events.News("RUNNER_SUBMIT_ERROR", campaign_id=refused, cluster_id=cluster))
    assert not {each.campaign_id for each in look(books)[cluster].backlogs} & {paused, cancelled, refused, elsewhere}


@pytest.mark.parametrize(
    "why", ["disabled", "removed", "blacklisted", "stressed", "stressed by its own limit"]
)  # fmt: skip
def test_clusters_that_get_nothing_are_not_there(books, cluster, why):
    books.campaign([cluster], 1)
    if why == "disabled":
        books.update(Cluster, cluster, enabled=False)
    elif why == "removed":
        books.update(Cluster, cluster, removed_at=text("now()"))
    elif why == "blacklisted":
        with books.transaction() as session:
            events.record(session, events.News("TIMEOUT", cluster_id=cluster))
    elif why == "stressed":
        note(books, cluster, stress=0.8)
    else:
        note(books, cluster, stress=0.3)
        assert cluster in look(books)
        books.update(Cluster, cluster, stress_factor=0.3)
    assert look(books) == {}


def test_what_is_written_replaces_what_was_there(books, cluster):
    one, two, three = (books.campaign([cluster], 9) for _ in range(3))
    other = books.cluster("other")
    assert write(books, {cluster: [Grant(one, 3), Grant(two, 2)], other: [Grant(one, 1)]})
    assert granted(books, cluster) == [(one, 3), (two, 2)] and granted(books, other) == [(one, 1)]
    assert write(books, {cluster: [Grant(three, 1), Grant(two, 2)]})
    assert granted(books, cluster) == [(three, 1), (two, 2)] and granted(books, other) == []
    assert not write(books, {}) and granted(books, cluster) == []


def test_nobody_is_woken_for_what_they_had(books, cluster):
    one = books.campaign([cluster], 9)
    assert write(books, {cluster: [Grant(one, 3)]})
    assert not write(books, {cluster: [Grant(one, 3)]}) and not write(books, {cluster: [Grant(one, 2)]})
    assert write(books, {cluster: [Grant(one, 4)]})


def test_when_somebody_was_served_is_kept(books, cluster):
    one = books.campaign([cluster], 9)
    books.submit(cluster, one, 2)
    before = books.allowance(cluster, one).served_at
    write(books, {})
    write(books, {cluster: [Grant(one, 1)]})
    assert before is not None and books.allowance(cluster, one).served_at == before


def test_nobody_claims_while_it_is_counted(books, cluster, other_engine):
    """Or else what a runner takes between counting and writing would be given out twice."""
    campaign = books.campaign([cluster], 9)
    books.allow(cluster, campaign, 2)
    taken = []
    thread = threading.Thread(target=lambda: taken.append(type(books)(other_engine).claim(cluster, campaign)))
    with books.transaction() as session:
        allowances.lock(session)
        before = allowances.situations(session, 1.0)[0]
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and allowances.situations(session, 1.0)[0] == before
        allowances.write(session, {cluster: [Grant(campaign, 1)]})
    thread.join()
    assert len(taken[0].lines) == 1


def test_campaigns_that_ended_are_forgotten(books, cluster):
    gone, here = books.campaign([cluster], 1), books.campaign([cluster], 1)
    write(books, {cluster: [Grant(gone, 1), Grant(here, 1)]})
    with books.transaction() as session:
        campaigns.cancel(session, gone)
        allowances.forget_ended(session)
    assert granted(books, cluster) == [(here, 1)]


def test_an_allowance_is_never_negative(books, cluster):
    campaign = books.campaign([cluster], 9)
    books.submit(cluster, campaign, 3)
    assert books.claim(cluster, campaign) is None and books.allowance(cluster, campaign).tasks == 0
