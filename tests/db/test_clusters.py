"""Clusters in the database, who this grid is, what is written down regularly, and how the database must be."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text

from cigri.db import campaigns, clusters, grid, upkeep
from cigri.db.engine import create_engine, notify, require_safety
from cigri.db.tables import Allowance, Cluster, GridUsage, IdempotencyKey
from cigri.errors import DatabaseError


@pytest.fixture
def cluster(books):
    return books.cluster()


def needing_runner(books):
    with books.transaction() as session:
        return clusters.needing_runner(session)


def change(books, name, what, *args, **fields):
    with books.transaction() as session:
        what(session, clusters.locked(session, name), *args, **fields)


def test_a_declared_cluster_has_the_defaults(books, cluster):
    with books.transaction() as session:
        found = clusters.by_name(session, "mini")
        assert (found.id, found.enabled, found.url_generation, found.api_chunk_size) == (cluster, True, 1, 100)
        assert clusters.status(session, cluster).slowest_submission == 0
        assert clusters.by_id(session, cluster).name == "mini" and clusters.by_name(session, "other") is None


def test_another_cluster_behind_the_url_is_another_generation(books, cluster):
    change(books, "mini", clusters.change, power=2)
    change(books, "mini", clusters.change, api_url="http://127.0.0.1:3")
    with books.transaction() as session:
        assert clusters.by_id(session, cluster).url_generation == 1
    change(books, "mini", clusters.change, moved=True, api_url="http://127.0.0.1:2")
    with books.transaction() as session:
        assert clusters.by_id(session, cluster).url_generation == 2


def test_a_disabled_cluster_gets_nothing_and_keeps_its_runner_while_jobs_are_there(books, cluster):
    campaign = books.campaign([cluster], 3)
    jobs = books.submit(cluster, campaign, 1)
    books.allow(cluster, campaign, 2)
    change(books, "mini", clusters.disable)
    assert books.claim(cluster, campaign) is None
    assert needing_runner(books) == {"mini": cluster}
    books.finish(cluster, {jobs[0]: books.success})
    assert needing_runner(books) == {}


def test_an_unsettled_submission_needs_a_runner(books, cluster):
    campaign = books.campaign([cluster], 3)
    books.allow(cluster, campaign, 2)
    books.claim(cluster, campaign)
    change(books, "mini", clusters.disable)
    assert needing_runner(books) == {"mini": cluster}
    with books.transaction() as session:
        assert clusters.unsettled_submissions(session, cluster) == 1 and clusters.live_jobs(session, cluster) == 2


def test_a_removed_cluster_is_gone_and_its_name_free(books, cluster):
    change(books, "mini", clusters.mark_removed)
    with books.transaction() as session:
        assert list(clusters.present(session)) == [] and clusters.by_name(session, "mini") is None
        assert clusters.by_id(session, cluster).removed_at is not None
    assert needing_runner(books) == {} and books.cluster("mini") != cluster


def test_campaigns_that_would_have_nowhere_to_go(books, cluster):
    other = books.cluster("other")
    books.campaign([cluster, other])
    only_here, paused, over = (books.campaign([cluster]) for _ in range(3))
    with books.transaction() as session:
        campaigns.pause(session, paused)
        campaigns.cancel(session, over)
        assert clusters.hopeful_campaigns(session, cluster) == 2 and clusters.hopeful_campaigns(session, other) == 0
    change(books, "other", clusters.mark_removed)
    with books.transaction() as session:
        assert clusters.hopeful_campaigns(session, cluster) == 3


def test_whether_a_cluster_is_wanted(books, cluster):
    campaign = books.campaign([cluster])
    with books.transaction() as session:
        assert clusters.wanted(session, cluster)
        campaigns.pause(session, campaign)
        assert not clusters.wanted(session, cluster)


def test_usage_is_written_for_counted_clusters(books, cluster):
    books.cluster("uncounted")
    campaign = books.campaign([cluster], 3)
    books.submit(cluster, campaign, 3)
    known = {"resources_total": 10, "resources_unavailable": 1, "resources_free": 4, "resources_at": func.now()}
    with books.transaction() as session:
        session.execute(text("UPDATE jobs SET state = 'running', resources_used = 2"))
        clusters.note(session, cluster, **known)
        upkeep.record_usage(session)
        line = session.scalars(select(GridUsage)).one()
    assert (line.cluster_id, line.max_resources, line.used_resources, line.used_by_cigri) == (cluster, 10, 5, 5)


def test_keys_are_kept_for_a_week(books, cluster):
    campaign = books.campaign([cluster])
    with books.transaction() as session:
        for word in ("old", "young"):
            campaigns.remember(session, "alice", campaigns.Key(word, "digest"), campaign)
        session.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '8 days' WHERE key = 'old'"))
        assert upkeep.forget_keys(session, 100) == 1
        assert list(session.scalars(select(IdempotencyKey.key))) == ["young"]


def test_a_restored_database_is_noticed(unchecked):
    with unchecked.transaction() as session:
        assert len(grid.grid_id(session)) == 8 and not grid.replaced(session)
        session.execute(text("UPDATE grid SET timeline = timeline + 1"))
        assert grid.replaced(session)
        session.rollback()


def test_a_database_that_forgets_is_refused(engine, monkeypatch):
    with pytest.raises(DatabaseError, match="fsync=off"):
        require_safety(engine)
    monkeypatch.setenv("CIGRI_UNSAFE_DATABASE", "yes")
    require_safety(engine)


def test_a_database_that_is_away_is_waited_for(tmp_path):
    engine = create_engine(f"postgresql+psycopg://postgres@/nothing?host={tmp_path}")
    require_safety(engine)
    engine.dispose()


def test_connections_are_as_they_must_be(database):
    for pool_size in (0, 2):
        engine = create_engine(database.url, application="somebody", pool_size=pool_size)
        with engine.connect() as connection:
            shown = [
                connection.scalar(text(f"SHOW {name}"))
                for name in ("synchronous_commit", "timezone", "application_name")
            ]
        assert shown == ["on", "UTC", "somebody"]
        engine.dispose()


def test_a_word_to_whoever_listens_goes_with_the_commit(books, engine):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as listener:
        listener.execute(text("LISTEN cigri"))
        driver = listener.connection.driver_connection
        with pytest.raises(ZeroDivisionError), books.transaction() as session:
            notify(session, "lost")
            _ = 1 / 0
        with books.transaction() as session:
            notify(session, "jobs")
        assert [heard.payload for heard in driver.notifies(timeout=2, stop_after=1)] == ["jobs"]
        listener.execute(text("UNLISTEN cigri"))


def test_allowances_go_with_a_disabled_cluster(books, cluster):
    campaign = books.campaign([cluster])
    books.allow(cluster, campaign, 2)
    change(books, "mini", clusters.disable)
    with books.transaction() as session:
        assert list(session.scalars(select(Allowance.tasks))) == []
        assert session.get_one(Cluster, cluster).enabled is False
