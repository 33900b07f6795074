"""The database of a CiGri 3, as it was at one moment. It is only read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
import psycopg.sql
from psycopg.rows import dict_row, namedtuple_row

from cigri.errors import DatabaseError

Row = dict[str, Any]

TABLES = (
    "clusters",
    "users_mapping",
    "campaigns",
    "parameters",
    "bag_of_tasks",
    "jobs",
    "events",
    "admission_rules",
    "user_notifications",
    "grid_usage",
    "users_priority",
)
# Jobs that may be on their cluster. What is `to_launch` was taken out of the bag and not sent.
ON_CLUSTERS = ("launching", "submitted", "running", "remote_waiting", "batch_waiting")
ROWS = 10_000

_TASKS = """
    SELECT p.id, coalesce(p.param, p.name, '') AS line, b.priority, coalesce(j.done, false) AS done,
           coalesce(j.live, false) AS live, coalesce(j.failed, false) AS failed, coalesce(j.taken, false) AS taken
    FROM parameters p
    LEFT JOIN (SELECT param_id, max(priority) AS priority FROM bag_of_tasks WHERE campaign_id = %(id)s GROUP BY 1) b
      ON b.param_id = p.id
    LEFT JOIN (SELECT param_id, bool_or(state = 'terminated') AS done, bool_or(state::text = ANY(%(live)s)) AS live,
                      bool_or(state = 'event') AS failed, bool_or(state = 'to_launch') AS taken
               FROM jobs WHERE campaign_id = %(id)s GROUP BY 1) j ON j.param_id = p.id
    WHERE p.campaign_id = %(id)s ORDER BY p.id"""

# The newest open event of each job that has ended, or that which it had.
_JOBS = """
    SELECT j.*, e.code, e.message, e.state = 'open' AS open, p.id IS NOT NULL AS of_task
    FROM jobs j LEFT JOIN parameters p ON p.id = j.param_id LEFT JOIN LATERAL (
        SELECT code, message, state FROM events WHERE job_id = j.id AND class = 'job'
        ORDER BY (state = 'open') DESC, id DESC LIMIT 1) e ON true
    WHERE j.campaign_id = %(id)s AND j.state IN ('terminated', 'event') AND j.cluster_id IS NOT NULL
    ORDER BY j.id"""


class TaskRow(NamedTuple):
    """A task, and what became of it. `priority` is None when it is not in the bag."""

    id: int
    line: str
    priority: int | None
    done: bool
    live: bool
    failed: bool
    taken: bool


@dataclass(frozen=True, slots=True)
class Live:
    """How many jobs are in a state, on a cluster."""

    cluster: str
    state: str
    jobs: int


class Source:
    """A connection to that database; what it gives is of the moment at which it was opened."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def rows(self, table: str, order: str = "id") -> list[Row]:
        """All rows of a small table."""
        query = psycopg.sql.SQL("SELECT * FROM {} ORDER BY {}")
        named = query.format(psycopg.sql.Identifier(table), psycopg.sql.Identifier(order))
        return self._dicts(named)

    def _dicts(self, query: str | psycopg.sql.Composed, *values: Any) -> list[Row]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, values or None).fetchall()

    def stream(self, table: str) -> Iterator[Row]:
        """All rows of a large table, in no order."""
        query = psycopg.sql.SQL("SELECT * FROM {}").format(psycopg.sql.Identifier(table))
        with self._connection.cursor("stream", row_factory=dict_row) as cursor:
            cursor.itersize = ROWS
            yield from cursor.execute(query)

    def unfinished(self) -> list[Row]:
        """The campaigns that have not ended, without their parameters."""
        return self._dicts("SELECT * FROM campaigns WHERE state IN ('in_treatment', 'paused') ORDER BY id")

    def open_events(self, code: str) -> list[Row]:
        """The open events of a code."""
        return self._dicts("SELECT * FROM events WHERE code = %s AND state = 'open' ORDER BY id", code)

    def tasks(self, campaign_id: int) -> Iterator[TaskRow]:
        """The tasks of a campaign, in order of their ids."""
        with self._connection.cursor("tasks", row_factory=namedtuple_row) as cursor:
            cursor.itersize = ROWS
            for row in cursor.execute(_TASKS, {"id": campaign_id, "live": list(ON_CLUSTERS)}):
                yield TaskRow(*row)

    def ended_jobs(self, campaign_id: int) -> Iterator[Row]:
        """The tries of a campaign that have ended, each with its event."""
        with self._connection.cursor("jobs", row_factory=dict_row) as cursor:
            cursor.itersize = ROWS
            yield from cursor.execute(_JOBS, {"id": campaign_id})

    def live_jobs(self) -> list[Row]:
        """The jobs that may be on their clusters, with campaign's owner and parameters."""
        query = """
            SELECT j.*, p.param, c.grid_user, c.state AS campaign_state
            FROM jobs j JOIN campaigns c ON c.id = j.campaign_id LEFT JOIN parameters p ON p.id = j.param_id
            WHERE j.state::text = ANY(%s) ORDER BY j.id"""
        return self._dicts(query, list(ON_CLUSTERS))

    def live(self) -> list[Live]:
        """How many jobs may be on their clusters."""
        query = """
            SELECT coalesce(c.name, '?'), j.state::text, count(*)
            FROM jobs j LEFT JOIN clusters c ON c.id = j.cluster_id
            WHERE j.state::text = ANY(%s) GROUP BY 1, 2 ORDER BY 1, 2"""
        return [Live(*row) for row in self._connection.execute(query, [list(ON_CLUSTERS)])]

    def maximum(self, table: str) -> int:
        """The highest id that was ever given out, as far as can be seen."""
        highest = psycopg.sql.SQL("SELECT coalesce(max(id), 0) FROM {}").format(psycopg.sql.Identifier(table))
        found = self._connection.execute(highest).fetchone()
        sequence = self._connection.execute("SELECT pg_get_serial_sequence(%s, 'id')", [table]).fetchone()
        last = 0
        if sequence and sequence[0]:
            schema, _, name = sequence[0].partition(".")
            place = psycopg.sql.Identifier(schema.strip('"'), name.strip('"'))
            row = self._connection.execute(psycopg.sql.SQL("SELECT last_value FROM {}").format(place)).fetchone()
            last = row[0] if row else 0
        return max(found[0] if found else 0, last)

    def others(self) -> int:
        """How many other connections there are to the database."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        row = self._connection.execute(query).fetchone()
        return row[0] if row else 0


@contextmanager
def opened(url: str) -> Iterator[Source]:
    """The database at that URL, at this moment. Raises DatabaseError when it is none of a CiGri 3."""
    try:
        with psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:", 1)) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            missing = _missing(connection, TABLES)
            if missing:
                raise DatabaseError(f"this is no database of a CiGri 3: it has no table {', '.join(missing)}")
            yield Source(connection)
    except psycopg.OperationalError as error:
        # libpq's words have host and database in them, never the password.
        raise DatabaseError(f"the database of CiGri 3: {str(error).strip().splitlines()[0]}") from error


def _missing(connection: psycopg.Connection[Any], tables: Sequence[str]) -> list[str]:
    query = "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(quote_ident(name)) IS NULL"
    return [row[0] for row in connection.execute(query, [list(tables)])]
