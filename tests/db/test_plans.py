"""PostgreSQL answers the statements of the hot paths from indexes, and looks at no more rows than it has to.

Each function runs as it is. Before a statement of its is executed, EXPLAIN ANALYZE runs it inside a savepoint.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event, select, update

from cigri.core.outcome import Outcome, Verdict
from cigri.core.scheduling import Grant
from cigri.core.states import CampaignState, JobState, TaskState
from cigri.db import allowances, campaigns, clusters, endings, events, jobs, kills, shares, strays, submissions
from cigri.db.engine import create_engine, transaction
from cigri.db.jobs import End
from cigri.db.submissions import Adopted
from cigri.db.tables import CampaignCluster
from cigri.db.views import campaigns as campaign_views
from cigri.db.views import events as event_views
from cigri.db.views import jobs as job_views
from cigri.db.views import statistics
from cigri.db.views import tasks as task_views

BIG = frozenset({"tasks", "jobs", "submissions", "events", "campaigns"})
MOST_ROWS = 2000  # looked at in one table by one statement; the tables have 50,000 to 200,000

# Three big campaigns (1: 150,000 tasks, a third of them done; 2; 3) among 3,000 that are over, on four clusters.
FILL = """
    SET session_replication_role = replica; -- quicker: no foreign keys are looked up, no triggers run
    INSERT INTO clusters (name, api_url, api_auth_type, batch)
        SELECT 'c' || n, 'http://127.0.0.1:1', 'none', 'oar3' FROM generate_series(1, 4) n;
    INSERT INTO cluster_status (cluster_id) SELECT id FROM clusters;
    INSERT INTO campaigns (grid_user, name, jdl, total_tasks) VALUES
        ('alice', 'big', '{}', 150000), ('bob', 'next', '{}', 45000), ('carol', 'third', '{}', 5000);
    INSERT INTO campaigns (grid_user, name, jdl, total_tasks, state, ended_at)
        SELECT 'user' || n % 50, 'over', '{}', 0, 'terminated', now() FROM generate_series(1, 3000) n;
    INSERT INTO campaign_clusters (campaign_id, cluster_id)
        SELECT c.id, k.id FROM campaigns c CROSS JOIN clusters k;
    INSERT INTO tasks (campaign_id, line, state)
        SELECT c.id, 'name' || n || ' ' || n,
               CASE WHEN c.id = 1 AND n <= 50000 THEN 'done' WHEN n > c.total_tasks - 100 THEN 'active'
                    ELSE 'pending' END::task_state
        FROM campaigns c CROSS JOIN LATERAL generate_series(1, c.total_tasks) n WHERE c.id <= 3;
    INSERT INTO campaign_counts (campaign_id, writer, pending, active, done)
        SELECT campaign_id, 0, count(*) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'active'),
               count(*) FILTER (WHERE state = 'done')
        FROM tasks GROUP BY campaign_id;
    INSERT INTO submissions (name, campaign_id, cluster_id, login, url_generation, size, remote_clock,
                             state, sent_at, settled_at)
        SELECT 'cigri.00000000.1.' || n, 1, 1 + n % 4, 'alice', 1, 10, 0,
               (CASE n % 1000 WHEN 0 THEN 'void' ELSE 'settled' END)::submission_state,
               now() - make_interval(mins => 40000 - n), now() - make_interval(mins => 40000 - n)
        FROM generate_series(1, 40000) n;
    INSERT INTO submissions (name, campaign_id, cluster_id, login, url_generation, size, remote_clock)
        SELECT 'cigri.00000000.2.' || n, 2, 1 + n % 4, 'bob', 1, 10, 0 FROM generate_series(1, 4) n;
    INSERT INTO events (class, code, state, date_closed, campaign_id, cluster_id, job_id, message)
        SELECT 'job', 'RESUBMIT', 'closed', now(), 1, 1 + n % 4, n, 'preempted' FROM generate_series(1, 20000) n;
    INSERT INTO events (class, code, campaign_id, cluster_id, alike)
        SELECT 'job', 'EXIT_ERROR', 1 + n % 3, 1 + n % 4, 'exit code ' || n FROM generate_series(1, 60) n;
    INSERT INTO jobs (task_id, campaign_id, cluster_id, submission_id, state, remote_id, ended_at, outcome, exit_code)
        SELECT t.id, 1, 1 + t.id % 4, 1 + t.id % 40000, 'terminated', t.id, now(), 'success', 0
        FROM tasks t WHERE t.state = 'done';
    INSERT INTO jobs (task_id, campaign_id, cluster_id, submission_id, state, remote_id, start_time, walltime,
                      kill_reason, kill_at, kill_next)
        SELECT t.id, t.campaign_id, 1 + t.id % 4, 1 + t.id % 40000,
               (CASE WHEN t.id % 3 = 0 THEN 'remote_waiting' ELSE 'running' END)::job_state, 100000 + t.id,
               now(), 3600, k.reason, k.at, k.at
        FROM tasks t LEFT JOIN (VALUES (0, 'user', now())) AS k(rest, reason, at) ON t.id % 10 = k.rest
        WHERE t.state = 'active';
    INSERT INTO allowances (cluster_id, campaign_id, tasks, rank) SELECT k.id, c.n, 100, c.n
        FROM clusters k CROSS JOIN generate_series(1, 3) AS c(n);
    ANALYZE;
"""
_names = itertools.count()


@pytest.fixture(scope="module")
def full(postgres: Any, template: Any) -> Iterator[Engine]:
    database = dataclasses.replace(template, name="filled")
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE filled TEMPLATE {template.name}")
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute(FILL)
    engine = create_engine(database.url)
    yield engine
    engine.dispose()


@dataclasses.dataclass
class Looked:
    """What the statements of one function did: the indexes they used, and the rows they looked at."""

    indexes: set[str] = dataclasses.field(default_factory=set)
    rows: list[tuple[float, str, str]] = dataclasses.field(default_factory=list)
    statements: int = 0

    def note(self, statement: str, plan: dict[str, Any]) -> None:
        if "Index Name" in plan:
            self.indexes.add(plan["Index Name"])
        if plan.get("Relation Name") in BIG and plan["Node Type"] != "ModifyTable":
            removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
            looked_at = (plan["Actual Rows"] + removed) * plan["Actual Loops"]
            self.rows.append((looked_at, f"{plan['Node Type']} on {plan['Relation Name']}", statement))
        for below in plan.get("Plans", ()):
            self.note(statement, below)


@pytest.fixture
def look(full: Engine) -> Callable[[Callable[..., Any]], Looked]:
    """Runs a function in a transaction that is undone; what it made the database do."""

    def run(function: Callable[..., Any]) -> Looked:
        looked = Looked()

        def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
            if not statement.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
                return
            looked.statements += 1
            with connection.connection.driver_connection.cursor() as cursor:
                cursor.execute("SAVEPOINT look")
                cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, parameters)
                found = cursor.fetchone()[0]
                cursor.execute("ROLLBACK TO look")
            found = json.loads(found) if isinstance(found, str) else found
            looked.note(statement, found[0]["Plan"])

        event.listen(full, "before_cursor_execute", explain)
        try:
            with pytest.raises(Undo), transaction(full, 1) as session:
                function(session)
                raise Undo
        finally:
            event.remove(full, "before_cursor_execute", explain)
        return looked

    return run


class Undo(Exception):
    pass


def claim(session, limit=100):
    return submissions.claim(
        session, cluster_id=1, url_generation=1, campaign_id=1, name=f"cigri.00000000.1.x{next(_names)}",
        remote_clock=0.0, limit=limit,
    )  # fmt: skip


def settle(session):
    claimed = claim(session)
    found = [Adopted(job_id, 10**6 + job_id, index) for index, (job_id, _) in enumerate(claimed.lines)]
    submissions.settle(session, claimed.submission_id, found[:90], 10**6)


def finish(session):
    success = Verdict(Outcome.SUCCESS, JobState.TERMINATED, TaskState.DONE)
    failed = Verdict(Outcome.EXIT, JobState.EVENT, TaskState.FAILED, "EXIT_ERROR", "exit code 1", alike="exit code 1")
    verdicts = itertools.cycle((success, failed))
    ends = [End(job.id, next(verdicts)) for job in jobs.followed(session, 1)]
    assert len(jobs.finish(session, 1, ends)) == len(ends) > 50


def unfinished(session, user):
    return campaign_views.unfinished(session, user, limit=1000, offset=0)


def page(offset):
    return lambda session: task_views.page(session, 1, 150000, limit=100, offset=offset)


def page_with_gaps(session):
    """Its ids do not follow each other: others' lie between them."""
    assert len(task_views.page(session, 2, 45001, limit=100, offset=0)) == 100


def blacklists(session):
    events.is_blacklisted(session, 1)
    session.scalar(select(events.blacklisted(1, 1)))
    events.due_probes(session, 1)


def situations(session):
    flying = allowances.flying(session)
    backlogs = allowances.backlogs(session, allowances.loads(session, 1.0, flying), flying)
    assert sum(map(len, backlogs.values())) == 12
    allowances.speeds(session, [1, 2, 3])


def ledgers(session):
    """What a dozen of 12,000 pairs were charged is found without looking at the others."""
    session.execute(
        update(CampaignCluster).where(CampaignCluster.campaign_id < 4).values(uncharged=5.0, used=5.0, ended=1)
    )
    charges = shares.take_charges(session)
    found = shares.read(session, list(charges), 3600.0)
    for cluster_id, ended in charges.items():
        for charge in ended:
            found.of_cluster[cluster_id].charge(charge)
    shares.write(session, found)
    assert len(charges) == 4


HOT = {
    "claim": (claim, {"tasks_pending"}),
    "settle": (settle, {"tasks_pending", "jobs_pkey"}),
    "void": (lambda session: submissions.void(session, claim(session).submission_id, "", counted=True), set()),
    "followed": (lambda session: jobs.followed(session, 1), set()),
    "finish": (finish, {"jobs_pkey", "tasks_pkey"}),
    "unsettled": (lambda session: submissions.unsettled(session, 1), {"submissions_sending"}),
    "kills due": (lambda session: kills.due(session, 1, 100), {"jobs_to_kill"}),
    "clusters with kills due": (kills.clusters_due, set()),
    "mark a campaign": (lambda session: kills.mark_campaign(session, 1, kills.KillReason.CANCELLED), set()),
    "overdue": (lambda session: kills.mark_overdue(session, 1, 2e9, 0), set()),
    "waiting too long": (lambda session: kills.mark_queued_too_long(session, 1, 0), set()),
    "blacklists": (blacklists, set()),
    "loads and backlogs": (situations, {"tasks_elsewhere"}),
    "ledgers": (ledgers, {"campaign_clusters_uncharged"}),
    "write allowances": (lambda session: allowances.write(session, {1: [Grant(1, 10), Grant(2, 5)]}), set()),
    "granted": (lambda session: allowances.granted(session, 1), set()),
    "what is over": (endings.terminate_finished, {"campaigns_unfinished"}),
    "pause": (lambda session: campaigns.pause(session, 1), set()),
    "runners": (clusters.needing_runner, set()),
    "strays": (
        lambda session: strays.accounted(session, 1, [(f"cigri.00000000.1.{n}", n) for n in range(1, 101)]),
        {"submissions_name_key", "jobs_of_submission"},
    ),
    "strays expected": (lambda session: strays.expected(session, 1, 600), {"submissions_given_up"}),
    "logins": (lambda session: strays.logins(session, 1, 86400), set()),
    "list of campaigns": (lambda session: unfinished(session, None), {"campaigns_unfinished"}),
    "campaigns of a user": (lambda session: unfinished(session, "alice"), set()),
    "a campaign": (lambda session: campaign_views.summary(session, 1), {"campaigns_pkey"}),
    "clusters of a campaign": (lambda session: campaign_views.clusters(session, 1), set()),
    "progress": (lambda session: campaign_views.progress(session, [1, 2, 3]), set()),
    "tasks, first page": (page(0), {"tasks_of_campaign"}),
    "tasks, last page": (page(149900), {"tasks_of_campaign"}),
    "tasks of a campaign that was added to": (page_with_gaps, {"tasks_of_campaign"}),
    "lines of a campaign among others": (
        lambda session: task_views.lines(session, 2, after=0, limit=100), {"tasks_of_campaign"},
    ),
    "ended jobs of a campaign": (
        lambda session: job_views.last_of_page(session, 1, after=20000, limit=100), {"jobs_of_campaign"},
    ),
    "ended jobs of a campaign that has none": (
        lambda session: job_views.last_of_page(session, 2, after=0, limit=100), {"jobs_of_campaign"},
    ),
    "statistics": (lambda session: statistics.statistics(session, 3, 3600), {"jobs_of_campaign"}),
    "open events of a campaign": (
        lambda session: event_views.of_campaign(session, 1, closed_too=False, limit=100, offset=0), set(),
    ),
    "open events of nobody": (lambda session: event_views.of_grid(session, limit=100, offset=0), set()),
}  # fmt: skip


@pytest.mark.parametrize(("function", "indexes"), HOT.values(), ids=HOT)
def test_only_what_is_needed_is_looked_at(look, function, indexes):
    looked = look(function)
    assert looked.statements, "nothing was asked"
    too_much = [each for each in looked.rows if each[0] > MOST_ROWS]
    assert too_much == []
    assert indexes <= looked.indexes, looked.rows


@pytest.mark.parametrize("tasks", [1, 100])
def test_the_number_of_statements_does_not_grow_with_the_tasks(look, tasks):
    assert look(lambda session: claim(session, tasks)).statements == look(lambda session: claim(session, 10)).statements


def test_a_claim_is_as_quick_in_a_bag_that_many_others_take_from(full, look):
    """What others have locked is skipped, and nothing more is read than that."""
    with pytest.raises(Undo), transaction(full, 2) as session:
        taken = submissions.claim(
            session, cluster_id=2, url_generation=1, campaign_id=1, name="cigri.00000000.1.other", remote_clock=0.0,
            limit=100,
        )  # fmt: skip
        assert len(taken.lines) == 100
        assert max(each[0] for each in look(claim).rows) <= 300
        raise Undo


def test_cancelling_looks_at_the_bag_and_the_live_jobs_only(look):
    """A million tasks that are done do not slow it down."""
    looked = look(lambda session: campaigns.cancel(session, 3))
    assert sum(rows for rows, _, _ in looked.rows) < 3 * 5000
    assert "jobs_live_of_campaign" in looked.indexes


def test_the_books_are_as_they_are_meant_here(full):
    with transaction(full) as session:
        found = campaign_views.progress(session, [1, 2, 3])
        assert [each.pending for each in found.values()] == [99900, 44900, 4900]
        assert [each.state for each in unfinished(session, None)[0]] == [CampaignState.IN_TREATMENT] * 3
