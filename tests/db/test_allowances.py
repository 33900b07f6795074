"""What the metascheduler counts is true while it deals, and what it writes replaces what was there."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from cigri.core.control import Limits, Load, order
from cigri.core.scheduling import Grant, Others
from cigri.db import allowances, campaigns, clusters, events, jobs, limits
from cigri.db.tables import Cluster

NOBODY = Load(0, 0, None, 0, 0.0)


@pytest.fixture
def cluster(books):
    return books.cluster()


def look(books, stress_limit=0.8):
    """The load of each cluster that may get jobs, and its backlogs by campaign."""
    with books.transaction() as session:
        flying = allowances.flying(session)
        loads = allowances.loads(session, stress_limit, flying)
        found = allowances.backlogs(session, loads, flying)
        return {key: (load, {each.campaign_id: each for each in found.get(key, ())}) for key, load in loads.items()}


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
    assert look(books)[cluster] == (Load(0, 0, None, 0, 0.0, 0, 13.0), {})


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
    assert look(books)[cluster][0] == Load(live=4, running=3, free=4, running_then=1, rate=0.5, waiting=1, delay=13.0)
    note(books, cluster, resources_at=text("now() - interval '2 min'"), submission_time=3.0, start_delay=20.0)
    assert look(books)[cluster][0] == Load(4, 3, None, 1, 0.5, 1, 25.0), "an old count is not believed"


def test_what_waits_is_what_the_cluster_has_or_was_just_sent(books, cluster):
    campaign = books.campaign([cluster], 9)
    there = books.submit(cluster, campaign, 3)
    books.allow(cluster, campaign, 4)
    books.claim(cluster, campaign)  # being sent
    assert look(books)[cluster][0].waiting == 7
    with books.transaction() as session:
        session.execute(text("UPDATE jobs SET created_at = now() - interval '2 min'"))
        session.execute(text("UPDATE jobs SET state = 'remote_waiting' WHERE id = :id"), {"id": there[0]})
    load = look(books)[cluster][0]
    assert (load.live, load.waiting) == (7, 3), "nobody knows what became of four"


def test_limits_and_what_was_sent_lately(books, cluster):
    other = books.cluster("other", max_jobs=5, max_per_minute=9)
    campaign = books.campaign([cluster, other], 9)
    books.submit(other, campaign, 2)
    books.submit(other, campaign, 1)
    with books.transaction() as session:
        assert limits.limits(session, 100) == {cluster: Limits(100), other: Limits(100, 5, 9)}
        assert limits.sent(session, {cluster: 60.0, other: 60.0}) == {other: 3}
        assert limits.sent(session, {}) == {}
        session.execute(text("UPDATE submissions SET sent_at = now() - interval '2 min' WHERE size = 2"))
        assert limits.sent(session, {other: 60.0}) == {other: 1}
        assert limits.sent(session, {other: 180.0}) == {other: 3}


def test_backlogs(books, cluster):
    other = books.cluster("other")
    one = books.campaign([cluster, other], 5, user="alice", max_jobs=3)
    two = books.campaign([cluster], 2, user="bob")
    books.submit(cluster, one, 2)
    found = {place: backlogs for place, (_, backlogs) in look(books).items()}
    assert set(found[cluster]) == {one, two} and set(found[other]) == {one}
    here, there = found[cluster][one], found[other][one]
    assert (here.user, here.pending, here.live, here.max_jobs, here.room) == ("alice", 3, 2, 3, 1)
    assert (there.live, there.room) == (0, 3)


def test_what_a_job_will_cost_is_its_walltime_until_some_have_ended(books, cluster):
    campaign = books.campaign([cluster], 9)
    there = books.submit(cluster, campaign, 4)
    before = look(books)[cluster][1][campaign]
    assert (before.guess, before.longest, before.reserved) == (3600.0, 3600.0, 4 * 3600.0)
    books.finish(cluster, dict.fromkeys(there[:2], books.success), start_time=1000.0, stop_time=1030.0, resources=2)
    after = look(books)[cluster][1][campaign]
    assert (after.guess, after.reserved) == (60.0, 120.0)
    with books.transaction() as session:
        session.execute(
            text("UPDATE jobs SET state = 'running', start_time = now() - interval '10 min' WHERE id = :id"),
            {"id": there[2]},
        )
    assert look(books)[cluster][1][campaign].reserved == pytest.approx(600.0, abs=60)


def test_what_flies_besides_the_backlog(books, cluster):
    here, paused, trial = (books.campaign([cluster], 9, user=user) for user in ("alice", "bob", "carol"))
    for campaign in (here, paused, trial):
        books.submit(cluster, campaign, 2)
    with books.transaction() as session:
        campaigns.pause(session, paused)
        session.execute(text("UPDATE campaign_clusters SET urgent = true WHERE campaign_id = :id"), {"id": trial})
    with books.transaction() as session:
        flying = allowances.flying(session)
        backlogs = allowances.backlogs(session, {cluster: NOBODY}, flying)[cluster]
        assert allowances.others(flying[cluster], backlogs) == Others(
            {"bob": 7200.0}, live=2, ahead=2, spent={"bob": 0.0}
        )


def test_campaigns_that_get_nothing_are_not_there(books, cluster):
    paused, cancelled, refused = (books.campaign([cluster], 1) for _ in range(3))
    books.campaign([books.cluster("other")], 1)
    with books.transaction() as session:
        campaigns.pause(session, paused)
        campaigns.cancel(session, cancelled)
        events.record(session, events.News("RUNNER_SUBMIT_ERROR", campaign_id=refused, cluster_id=cluster))
    assert look(books)[cluster][1] == {}


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


def test_nobody_claims_while_it_is_counted(books, cluster, other_engine):
    """Or else what a runner takes between counting and writing would be given out twice."""
    campaign = books.campaign([cluster], 9)
    books.allow(cluster, campaign, 2)
    taken = []
    thread = threading.Thread(target=lambda: taken.append(type(books)(other_engine).claim(cluster, campaign)))
    with books.transaction() as session:
        allowances.lock(session)
        before = allowances.flying(session)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and allowances.flying(session) == before
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


def counted(books, cluster, **fields):
    note(books, cluster, resources_at=text("now()"), **fields)


def test_large_jobs_take_more_of_what_is_free(books, cluster):
    """Before one of them runs their campaign says how large they are; then it is seen."""
    large, small = books.campaign([cluster], 99, cores=16), books.campaign([cluster], 99)
    counted(books, cluster, resources_free=1000, resources_besteffort=1000)
    load, waiting = look(books)[cluster]
    assert load.free == 1000 and waiting[large].places == 16.0 and waiting[small].places == 1.0
    books.submit(cluster, large, 3)
    load, waiting = look(books)[cluster]
    assert load.waiting == load.live == 3 and load.extra == 45 and load.aside == 0
    with books.transaction() as session:
        session.execute(text("UPDATE jobs SET state = 'running', resources_used = 16"))
    load, waiting = look(books)[cluster]
    assert load.free == 62 and waiting[large].places == waiting[small].places == 1.0, "limits are of jobs: never less"


def test_units_of_many_resources_are_counted_in_jobs(books, cluster):
    campaign = books.campaign([cluster], 99)
    books.submit(cluster, campaign, 1)
    with books.transaction() as session:
        session.execute(text("UPDATE jobs SET state = 'running', resources_used = 4"))
    counted(books, cluster, resources_free=31, resources_besteffort=31, unit_size=32.0)
    assert look(books)[cluster][0].free == 31 * 8


def run(books, number):
    """So many jobs run, the oldest."""
    with books.transaction() as session:
        session.execute(
            text("UPDATE jobs SET state = 'running' WHERE id IN (SELECT id FROM jobs ORDER BY id LIMIT :number)"),
            {"number": number},
        )


def test_what_may_not_run_everywhere_is_tried_on_a_few_first(books, cluster):
    choosy = books.campaign([cluster], 99, max_jobs=50, choosy=True)
    plain = books.campaign([cluster], 99)
    counted(books, cluster, resources_free=100, resources_besteffort=100)
    assert {number: each.room for number, each in look(books)[cluster][1].items()} == {choosy: 10, plain: 99}
    books.submit(cluster, choosy, 10)
    load, waiting = look(books)[cluster]
    assert waiting[choosy].room == 0, "until some of them run"
    assert order(load, Limits(500)) == 100, "they keep nobody from what is free: they are the queue"
    run(books, 8)
    assert look(books)[cluster][1][choosy].room == 10 + 2 * 8 - 10
    run(books, 10)
    books.submit(cluster, choosy, 20)
    run(books, 30)
    assert look(books)[cluster][1][choosy].room == 20, "no more than its max_jobs"


def test_tasks_that_nobody_sees_running_count_when_they_have_succeeded(books, cluster):
    choosy = books.campaign([cluster], 999, choosy=True)
    books.finish(cluster, dict.fromkeys(books.submit(cluster, choosy, 120), books.success))
    assert look(books)[cluster][1][choosy].room == 10 + 2 * 13, "one in a second, and the loop takes 13"


def test_a_cluster_with_properties_is_tried_with_a_few_jobs_first(books, cluster):
    books.update(Cluster, cluster, properties="grid='YES'")
    campaign = books.campaign([cluster], 99)
    counted(books, cluster, resources_free=100, resources_besteffort=100)
    load, waiting = look(books)[cluster]
    assert order(load, Limits(500)) == 10 and waiting[campaign].room == 99
    books.submit(cluster, campaign, 10)
    assert order(look(books)[cluster][0], Limits(500)) == 0
    run(books, 10)
    assert order(look(books)[cluster][0], Limits(500)) == 20


def test_a_job_that_is_larger_than_all_that_is_free_stops_nobody(books, cluster):
    large, small = books.campaign([cluster], 99, cores=1000), books.campaign([cluster], 99)
    counted(books, cluster, resources_free=900, resources_besteffort=900)
    load, waiting = look(books)[cluster]
    assert (waiting[large].room, waiting[large].places) == (2, 1.0) and waiting[small].room == 99
    books.submit(cluster, large, 2)
    load, waiting = look(books)[cluster]
    assert waiting[large].room == 0 and order(load, Limits(500)) == 900


def test_what_would_have_started_long_ago_stops_nobody(books, cluster):
    campaign = books.campaign([cluster], 99)
    books.submit(cluster, campaign, 50)
    counted(books, cluster, resources_free=50, resources_besteffort=50)
    assert order(look(books)[cluster][0], Limits(500)) == 2
    with books.transaction() as session:
        session.execute(text("UPDATE jobs SET created_at = now() - interval '5 min'"))
    assert order(look(books)[cluster][0], Limits(500)) == 50, "they wait for something else than what is free"
    counted(books, cluster, resources_free=0, resources_besteffort=0)
    assert order(look(books)[cluster][0], Limits(500)) == 0, "and are the queue where nothing is"


def test_a_prologue_that_waits_is_one_job(books, cluster):
    campaign = books.campaign([cluster], 99, cores=512)
    with books.transaction() as session:
        columns = "kind, campaign_id, cluster_id, state"
        job = f"INSERT INTO jobs ({columns}) SELECT 'prologue', {campaign}, {cluster}, 'to_launch'"
        session.execute(text(job))
    counted(books, cluster, resources_free=600, resources_besteffort=600)
    load = look(books)[cluster][0]
    assert (load.waiting, load.extra, load.aside) == (1, 0, 0)


def test_what_a_task_uses_is_learnt_from_tasks_that_ran(books, cluster):
    """Neither what never started nor what was preempted for nothing makes the next seem short."""
    campaign = books.campaign([cluster], 99)
    there = books.submit(cluster, campaign, 4)
    with books.transaction(cluster) as session:
        jobs.finish(session, cluster, [jobs.End(there[0], books.preempted, start_time=100.0, stop_time=700.0)], 10, 0.0)
    books.finish(cluster, {there[1]: books.cancelled, there[2]: books.preempted})
    books.finish(cluster, {there[3]: books.success}, start_time=100.0, stop_time=1300.0)
    assert look(books)[cluster][1][campaign].guess == 900.0
