"""Tables of a grid that has run for a while, written by SQL: campaigns that ran side by side, their jobs interleaved.

A wave is so many slots side by side; in each slot campaigns of a length follow each other. Each task was tried once,
one in 30 twice; one in 200 has failed. Indexes are dropped while rows are written and made again after that.
"""

# ruff: noqa: S608 - only our own numbers and names are put into SQL here

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from figures import say

CLUSTERS = 4
USERS = 20
SUBMISSION = 100  # jobs in one

_GRID = f"""
    INSERT INTO clusters (name, api_url, api_auth_type, batch)
        SELECT 'c' || n, 'http://127.0.0.1:1', 'none', 'oar3' FROM generate_series(1, {CLUSTERS}) n;
    INSERT INTO cluster_status (cluster_id) SELECT id FROM clusters;
"""

_PLAN = """
    CREATE TEMP TABLE IF NOT EXISTS plan (campaign integer PRIMARY KEY, slot integer, first_n integer, tasks integer,
                                          first_task bigint, ended timestamptz);
    TRUNCATE plan;
    INSERT INTO plan SELECT {first_campaign} + i * {slots} + s, s, i * {length}, {length},
            {first_task} + (i * {slots} + s)::bigint * {length},
            CASE WHEN i < {ended}
                 THEN now() - interval '1 day' * ({oldest} - ({oldest} - {youngest}) * i / {ended}::float) END
        FROM generate_series(0, {number} / {slots} - 1) i, generate_series(0, {slots} - 1) s;
"""

# Beside a wave, in a slot of its own, for as long as the wave lasts: most of its tasks are done, 2,000 are under way.
_BIG = "INSERT INTO plan VALUES ({campaign}, {slots}, 0, {tasks}, {first_task}, NULL)"

_CAMPAIGNS = f"""
    INSERT INTO campaigns (id, grid_user, name, jdl, total_tasks, state, submission_time, ended_at{{archived}})
        SELECT campaign, 'user' || campaign % {USERS}, 'campaign ' || campaign,
               jsonb_build_object('name', 'campaign ' || campaign, 'clusters', (SELECT jsonb_object_agg(name,
                   jsonb_build_object('exec_file', 'run.sh', 'walltime', '01:00:00', 'type', 'best-effort'))
                   FROM clusters)),
               tasks, (CASE WHEN ended IS NULL THEN 'in_treatment' ELSE 'terminated' END)::campaign_state,
               coalesce(ended, now()) - interval '2 days', ended{{archived_values}}
        FROM plan;
    INSERT INTO campaign_clusters (campaign_id, cluster_id) SELECT campaign, k.id FROM plan, clusters k;
"""

_STATE = """CASE WHEN p.ended IS NOT NULL OR m < 0.9 * p.tasks THEN CASE m % 200 WHEN 0 THEN 'failed' ELSE 'done' END
                 WHEN m < 0.9 * p.tasks + least(2000, 0.05 * p.tasks) THEN 'active' ELSE 'pending' END"""

_TASKS = f"""
    INSERT INTO {{table}} (id, campaign_id, state, line{{priority}})
        SELECT first_task + m, campaign, ({_STATE})::task_state,
               'sample' || m || ' --in /data/' || campaign || '/' || m{{ten}}
        FROM plan p, generate_series(0, p.tasks - 1) m ORDER BY campaign, m
"""

# In the order of time: what ran at the same moment lies side by side.
_JOBS = f"""
    INSERT INTO {{table}} (id, task_id, campaign_id, cluster_id, submission_id, state, remote_id, array_index,
                           created_at, start_time, stop_time, walltime, exit_code, outcome, node_name, resources_used,
                           stdout_path, stderr_path, event_id, ended_at)
        SELECT {{first_job}} + 2 * (n::bigint * ({{slots}} + 1) + slot) + try, first_task + m, campaign,
               1 + (m / 100) % {CLUSTERS},
               first_task / {SUBMISSION} + campaign + m / {SUBMISSION}, job.state,
               10000000 + n::bigint * ({{slots}} + 1) + slot, m % {SUBMISSION}, began, began + interval '20 s',
               CASE WHEN live THEN NULL ELSE began + interval '20 s' + interval '1 s' * (30 + m % 100) END, 3600,
               CASE WHEN job.state = 'terminated' THEN 0 WHEN task.state = 'failed' THEN 256 END, job.outcome,
               'node-' || n % 64, 1, '/home/user/run/OAR.sample.%jobid%.stdout',
               '/home/user/run/OAR.sample.%jobid%.stderr', CASE WHEN job.state = 'event' THEN {{event}} END,
               CASE WHEN live THEN NULL ELSE began + interval '3 min' END
        FROM generate_series({{from_n}}, {{to_n}} - 1) n
            JOIN plan p ON n >= p.first_n AND n < p.first_n + p.tasks AND p.first_n < {{to_n}}
                AND p.first_n + p.tasks > {{from_n}}
            CROSS JOIN LATERAL (SELECT n - p.first_n AS m) AS place
            CROSS JOIN LATERAL (SELECT {_STATE} AS state) AS task
            JOIN LATERAL generate_series(CASE m % 30 WHEN 0 THEN 0 ELSE 1 END, 1) AS try ON task.state <> 'pending'
            CROSS JOIN LATERAL (SELECT task.state = 'active' AND try = 1 AS live) AS alive
            CROSS JOIN LATERAL (SELECT
                (CASE WHEN live THEN 'running' WHEN try = 1 AND task.state = 'done' THEN 'terminated' ELSE 'event' END
                )::job_state AS state,
                CASE WHEN live THEN NULL WHEN try = 0 THEN 'preempted' WHEN task.state = 'done' THEN 'success'
                     ELSE 'exit' END AS outcome) AS job
            CROSS JOIN LATERAL (SELECT coalesce(p.ended, now()) - interval '1 s' * (p.tasks - m) AS began) AS moment
"""

_SUBMISSIONS = f"""
    INSERT INTO {{table}} (id, name, campaign_id, cluster_id, login, state, size, sent_at, settled_at,
                           array_id{{columns}})
        SELECT first_task / {SUBMISSION} + campaign + k,
               'cigri.00000000.' || campaign || '.' || k, campaign, 1 + k % {CLUSTERS}, 'user' || campaign % {USERS},
               'settled', {SUBMISSION}, began, began, 5000000 + first_task / {SUBMISSION} + campaign + k{{values}}
        FROM plan, generate_series(0, (tasks - 1) / {SUBMISSION}) k,
            LATERAL (SELECT coalesce(ended, now()) - interval '1 s' * (tasks - k * {SUBMISSION}) AS began) AS moment
"""

_EVENTS = """
    INSERT INTO {table} (class, code, campaign_id, cluster_id, job_id, message, date_open, date_last,
                         date_closed{columns})
        SELECT 'job', CASE k % 3 WHEN 0 THEN 'CIGRI_WALLTIME' ELSE 'RESUBMIT' END, campaign, 1 + k % 4, k,
               'preempted: the cluster''s owner took the resources', at, at, at{values}
        FROM plan, generate_series(1, (tasks * {share})::integer) k,
            LATERAL (SELECT coalesce(ended, now()) - interval '1 s' * (tasks - k / {share}) AS at) AS moment
"""

_OPEN_EVENTS = """
    INSERT INTO events (class, code, campaign_id, cluster_id, job_id, last_job_id, count, alike, message, notified_at,
                        notified_count, date_open, date_last)
        SELECT 'job', 'EXIT_ERROR', campaign, 1 + k % 4, k, k + 1000, 10, 'exit code ' || k,
               'exit code ' || k || E'\\nTraceback: something is wrong', now(), 10, at, at
        FROM plan, generate_series(1, CASE WHEN tasks > 100000 THEN 150 ELSE 3 END) k,
            LATERAL (SELECT coalesce(ended, now()) AS at) AS moment
"""

_NUMBERS = f"""
    INSERT INTO campaign_counts (campaign_id, writer, pending, active, done, failed)
        SELECT campaign, 0, count(*) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'active'),
               count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'failed')
        FROM plan p, generate_series(0, p.tasks - 1) m, LATERAL (SELECT {_STATE} AS state) AS s GROUP BY campaign;
    INSERT INTO campaign_ends (campaign_id, cluster_id, writer, outcome, jobs, timed, seconds, squares)
        SELECT campaign, k.id, k.id, w.word, tasks / w.part, tasks / w.part, 80.0 * tasks / w.part,
               7200.0 * tasks / w.part
        FROM plan, clusters k, (VALUES ('success', 4), ('exit', 800), ('preempted', 120)) AS w(word, part);
    INSERT INTO campaign_minutes (campaign_id, minute, writer, jobs)
        SELECT campaign, date_trunc('minute', coalesce(ended, now())) - interval '1 min' * k, 1 + k % {CLUSTERS}, 60
        FROM plan, generate_series(0, 59) k;
"""


@dataclass(frozen=True, slots=True)
class Wave:
    """`number` campaigns of `length` tasks in `slots` at a time. They ended `oldest` to `youngest` days ago; the last
    `running` of each slot have not. `big`: tasks of one that runs beside them.
    """

    number: int
    length: int
    slots: int
    oldest: float
    youngest: float
    running: int = 0
    big: int = 0

    @property
    def tasks(self) -> int:
        return self.number * self.length + self.big


class Filler:
    """Writes waves one after the other; ids go on."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._campaign = self._task = 1
        self._job = 0
        connection.execute("SET session_replication_role = replica; SET maintenance_work_mem = '1GB'")
        connection.execute("SET work_mem = '64MB'; SET jit = off")
        connection.execute(_GRID)

    def live(self, wave: Wave, events: int) -> None:
        """Into the tables that the daemons work on, with about so many events."""
        self._plan(wave)
        self._do(_CAMPAIGNS.format(archived="", archived_values=""))
        self._do(_TASKS.format(table="tasks", priority="", ten=""))
        self._jobs("jobs", wave, "(SELECT min(id) FROM events)")
        self._do(
            _SUBMISSIONS.format(
                table="submissions",
                columns=", url_generation, remote_clock",
                values=", 1, 0",
            )
        )
        share = events / wave.tasks
        told = ", state, notified_at, notified_count"
        self._do(_EVENTS.format(table="events", columns=told, values=", 'closed', at, 1", share=share))
        self._do(_OPEN_EVENTS)
        self._close(wave)

    def archived(self, wave: Wave, events: int) -> None:
        """Into the archive, as `gridadmin maintenance` would have done."""
        self._plan(wave)
        self._do(_CAMPAIGNS.format(archived=", archived_tasks, archived_at", archived_values=", tasks, now()"))
        self._do(_TASKS.format(table="archived_tasks", priority=", priority", ten=", 10"))
        self._jobs("archived_jobs", wave, "1")
        self._do(
            _SUBMISSIONS.format(
                table="archived_submissions",
                columns=", void_jobs, void_tasks",
                values=", '{}', '{}'",
            )
        )
        columns, values = ", id, count, alike", ", nextval('events_id_seq'), 1, ''"
        self._do(_EVENTS.format(table="archived_events", columns=columns, values=values, share=events / wave.tasks))
        self._close(wave)

    def finish(self) -> None:
        """Numbers that are given out from now on are new ones."""
        for table, last in (("campaigns", self._campaign), ("tasks", self._task), ("jobs", self._job)):
            self._connection.execute("SELECT setval(%s, %s)", (f"{table}_id_seq", last))
        submission = self._task // SUBMISSION + self._campaign
        self._connection.execute("SELECT setval('submissions_id_seq', %s)", (submission,))

    def _plan(self, wave: Wave) -> None:
        self._do(
            _PLAN.format(
                first_campaign=self._campaign + (1 if wave.big else 0),
                slots=wave.slots,
                length=wave.length,
                first_task=self._task + wave.big,
                number=wave.number,
                ended=wave.number // wave.slots - wave.running,
                oldest=wave.oldest,
                youngest=wave.youngest,
            )
        )
        if wave.big:
            self._do(_BIG.format(campaign=self._campaign, slots=wave.slots, tasks=wave.big, first_task=self._task))
        self._connection.execute("ANALYZE plan")

    def _jobs(self, table: str, wave: Wave, event: str) -> None:
        """In pieces: no statement is to sort or to keep millions of rows."""
        longest = max(wave.big, wave.number // wave.slots * wave.length)
        for first in range(0, longest, wave.length):
            self._do(
                _JOBS.format(
                    table=table,
                    first_job=self._job,
                    slots=wave.slots,
                    event=event,
                    from_n=first,
                    to_n=min(first + wave.length, longest),
                )
            )

    def _close(self, wave: Wave) -> None:
        self._do(_NUMBERS)
        longest = max(wave.big, wave.number // wave.slots * wave.length)
        campaigns = wave.number + (1 if wave.big else 0)
        self._campaign += campaigns
        self._task += wave.tasks
        self._job += 2 * longest * (wave.slots + 1) + 2

    def _do(self, statement: str) -> None:
        self._connection.execute(statement.encode())


@contextmanager
def without_indexes(connection: psycopg.Connection, *tables: str) -> Iterator[None]:
    """For the block these tables have no indexes but their primary keys, and are not vacuumed."""
    found = connection.execute(
        "SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = ANY(%s::regclass[]) AND NOT i.indisprimary"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)",
        (list(tables),),
    ).fetchall()
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}".encode())
    for table in tables:
        connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())
    yield
    for table in tables:
        connection.execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)".encode())
    for _, definition in found:
        connection.execute(definition.encode())


@contextmanager
def told(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - began:.0f} s")
