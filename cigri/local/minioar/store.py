"""All jobs and events of a minioar, in a SQLite file: what survives when the server dies.

Nothing is committed here but by commit(): a request or a round is one transaction.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cigri.local.minioar.job import ALL_WORDS, FINAL, Event, LiveJob, Need, State
from cigri.local.minioar.request import JobRequest, output_file

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    array_id INTEGER, array_index INTEGER, state TEXT NOT NULL, user TEXT NOT NULL, name TEXT,
    queue TEXT NOT NULL, project TEXT NOT NULL, command TEXT NOT NULL, initial_request TEXT NOT NULL,
    types TEXT NOT NULL, properties TEXT NOT NULL, directory TEXT NOT NULL,
    stdout TEXT NOT NULL, stderr TEXT NOT NULL, submission_time INTEGER NOT NULL,
    start_time INTEGER NOT NULL DEFAULT 0, stop_time INTEGER NOT NULL DEFAULT 0,
    assigned INTEGER NOT NULL DEFAULT 0, exit_code INTEGER, message TEXT NOT NULL,
    resubmit_job_id INTEGER NOT NULL DEFAULT 0,
    nodes INTEGER NOT NULL, each INTEGER NOT NULL, walltime INTEGER NOT NULL,
    resources TEXT NOT NULL DEFAULT '[]',
    started REAL NOT NULL DEFAULT 0, mark TEXT NOT NULL DEFAULT '', frag INTEGER NOT NULL DEFAULT 0,
    signalled INTEGER NOT NULL DEFAULT 0, status INTEGER, trouble TEXT NOT NULL DEFAULT '',
    follower TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, user);
CREATE INDEX IF NOT EXISTS jobs_by_array ON jobs (array_id);
CREATE INDEX IF NOT EXISTS jobs_by_stop ON jobs (stop_time);
CREATE INDEX IF NOT EXISTS jobs_by_submission ON jobs (submission_time) WHERE assigned = 0;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, job_id INTEGER NOT NULL, type TEXT NOT NULL,
    date INTEGER NOT NULL, description TEXT NOT NULL, to_check TEXT NOT NULL DEFAULT 'NO'
);
CREATE INDEX IF NOT EXISTS events_by_job ON events (job_id);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

LIVE = tuple(sorted(ALL_WORDS - set(FINAL)))
IN_LIST = "id IN (SELECT value FROM json_each(:ids))"
IN_STATES = "state IN (SELECT value FROM json_each(:states))"
DATED = """(
    (assigned <> 0 AND start_time <= :to
        AND (stop_time >= :since OR (stop_time = 0 AND state NOT IN ('Terminated', 'Error'))))
    OR (assigned = 0 AND state = 'Error' AND submission_time BETWEEN :since AND :to))"""
UNSEEN = "NOT (state = 'Error' AND assigned = 0 AND stop_time <> 0)"  # OAR3's lists leave these out


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs a list is to have."""

    ids: tuple[int, ...] = ()
    array: int = 0
    states: tuple[str, ...] = ()
    user: str = ""
    since: int = 0
    to: int = 0


class Store:
    """The jobs' table and the log of events."""

    def __init__(self, file: Path) -> None:
        self.base = sqlite3.connect(file, isolation_level=None, check_same_thread=True)
        self.base.row_factory = sqlite3.Row
        self.base.execute("PRAGMA journal_mode = WAL")
        self.base.execute("PRAGMA synchronous = NORMAL")
        self.base.executescript(SCHEMA)
        self.base.execute("BEGIN")
        self._kept = self.base.total_changes

    def commit(self) -> None:
        """Keep what was changed, whatever happens."""
        if self.base.total_changes != self._kept:
            self._kept = self.base.total_changes
            self.base.execute("COMMIT")
            self.base.execute("BEGIN")

    def close(self) -> None:
        """Commit and let go of the file."""
        self.base.execute("COMMIT")
        self.base.close()

    def fact(self, name: str, default: str = "") -> str:
        """A remembered word."""
        row = self.base.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return default if row is None else str(row["value"])

    def remember(self, name: str, value: str) -> None:
        """Remember a word."""
        self.base.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))

    def insert(self, request: JobRequest, user: str, now: int, state: State, count: int) -> list[int]:
        """Insert the first `count` jobs of the array; their ids, the first of which is the array's."""
        ids: list[int] = []
        for index, command in enumerate(request.commands[:count], 1):
            cursor = self.base.execute(
                """INSERT INTO jobs (array_index, state, user, name, queue, project, command, initial_request, types,
                       properties, directory, stdout, stderr, submission_time, message, nodes, each, walltime)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '', ?, ?, ?, ?, ?)""",
                (
                    *(index, state, user, request.name, request.queue, request.project, command),
                    *(request.initial_request, json.dumps(request.types), request.properties, request.directory),
                    *(now, _message(request), request.need.nodes, request.need.each, request.walltime),
                ),
            )
            job = cursor.lastrowid or 0
            ids.append(job)
            files = (output_file(file, job, ids[0], index, request.name) for file in (request.stdout, request.stderr))
            self.base.execute(
                "UPDATE jobs SET array_id = ?, stdout = ?, stderr = ? WHERE id = ?", (ids[0], *files, job)
            )
        return ids

    def skip_ids(self, count: int) -> None:
        """Leave so many ids unused."""
        if not self.base.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'jobs'", (count,)).rowcount:
            self.base.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', ?)", (count,))

    def copy(self, job: int, now: int) -> int:
        """Submit a job once more, as OAR does when it resubmits: the new id."""
        cursor = self.base.execute(
            """INSERT INTO jobs (array_id, array_index, state, user, name, queue, project, command, initial_request,
                   types, properties, directory, stdout, stderr, submission_time, message, nodes, each, walltime,
                   resubmit_job_id, stop_time)
               SELECT array_id, array_index, 'Waiting', user, name, queue, project, command, initial_request,
                   types, properties, directory, stdout, stderr, submission_time, message, nodes, each, walltime, id, ?
               FROM jobs WHERE id = ?""",
            (now, job),
        )
        new = cursor.lastrowid or 0
        row = self.base.execute("SELECT stdout, stderr FROM jobs WHERE id = ?", (new,)).fetchone()
        files = (re.sub(rf"\.{job}(\.std(?:out|err))$", rf".{new}\1", file) for file in row)
        self.base.execute("UPDATE jobs SET stdout = ?, stderr = ? WHERE id = ?", (*files, new))
        return new

    def live(self) -> list[LiveJob]:
        """The jobs that have not ended, oldest first."""
        rows = self.base.execute(f"SELECT * FROM jobs WHERE {IN_STATES} ORDER BY id", {"states": json.dumps(LIVE)})  # noqa: S608
        return [live_job(row) for row in rows]

    def set_state(self, job: LiveJob) -> None:
        """Store the job's state, its resources and how far its end has come."""
        self.base.execute(
            """UPDATE jobs SET state = ?, resources = ?, started = ?, mark = ?, frag = max(frag, ?), signalled = ?,
                   status = ?, trouble = ?, follower = ? WHERE id = ?""",
            (
                *(job.state, json.dumps(job.resources), job.started, job.mark, job.killed, job.signalled > 0),
                *(job.status, job.trouble, job.follower, job.id),
            ),
        )

    def set_assigned(self, job: LiveJob, message: str, now: int) -> None:
        """The job has its resources, and begins."""
        self.base.execute(
            "UPDATE jobs SET assigned = id, start_time = ?, stop_time = 0, message = ? WHERE id = ?",
            (now, message, job.id),
        )
        self.set_state(job)

    def set_started(self, job: LiveJob) -> None:
        """The job's command runs."""
        self.base.execute("UPDATE jobs SET start_time = ? WHERE id = ?", (int(job.started), job.id))
        self.set_state(job)

    def set_ended(self, job: LiveJob, stop_time: int, exit_code: int | None) -> None:
        """The job has ended."""
        self.base.execute("UPDATE jobs SET stop_time = ?, exit_code = ? WHERE id = ?", (stop_time, exit_code, job.id))
        self.set_state(job)

    def set_message(self, job: int, message: str) -> None:
        """What OAR has to say of the job."""
        self.base.execute("UPDATE jobs SET message = ? WHERE id = ?", (message, job))

    def mark_frag(self, job: int) -> None:
        """Somebody has asked for the job's end."""
        self.base.execute("UPDATE jobs SET frag = 1 WHERE id = ?", (job,))

    def add_events(self, job: int, events: Iterable[Event], now: int) -> None:
        """Append to the log of the job."""
        self.base.executemany(
            "INSERT INTO events (job_id, type, date, description) VALUES (?, ?, ?, ?)",
            [(job, event.kind, now, event.description) for event in events],
        )

    def row(self, job: int) -> sqlite3.Row | None:
        """One job, whole."""
        if job > 1 << 62:
            return None
        found: sqlite3.Row | None = self.base.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
        return found

    def array(self, array_id: int) -> list[sqlite3.Row]:
        """The jobs of an array, with their copies."""
        return self.base.execute("SELECT * FROM jobs WHERE array_id = ? ORDER BY id", (array_id,)).fetchall()

    def page(self, wanted: Wanted, hidden: Sequence[int], limit: int, offset: int) -> tuple[int, list[sqlite3.Row]]:
        """How many such jobs there are, and a page of them."""
        conditions = [UNSEEN]
        if wanted.ids:
            conditions.append(IN_LIST)
        elif wanted.array:
            conditions.append("array_id = :array")
        else:
            if wanted.since or wanted.to:
                conditions.append(DATED)
            if wanted.states or not (wanted.since or wanted.to):
                conditions.append(IN_STATES)
        if wanted.user:
            conditions.append("user = :user")
        if hidden:
            conditions.append("id NOT IN (SELECT value FROM json_each(:hidden))")
        values = {
            "ids": json.dumps(wanted.ids),
            "array": wanted.array,
            "states": json.dumps(wanted.states or LIVE),
            "user": wanted.user,
            "since": wanted.since,
            "to": wanted.to or 1 << 40,
            "hidden": json.dumps(list(hidden)),
            "limit": limit,
            "offset": offset,
        }
        where = " AND ".join(conditions)  # constants of this file only
        total = self.base.execute(f"SELECT count(*) FROM jobs WHERE {where}", values).fetchone()[0]  # noqa: S608
        rows = self.base.execute(
            f"SELECT * FROM jobs WHERE {where} ORDER BY id LIMIT :limit OFFSET :offset",  # noqa: S608
            values,
        )
        return total, rows.fetchall()

    def events(self, jobs: Sequence[int]) -> dict[int, list[dict[str, object]]]:
        """The log of these jobs."""
        log: dict[int, list[dict[str, object]]] = {job: [] for job in jobs}
        rows = self.base.execute(
            """SELECT id, type, job_id, date, description, to_check FROM events
               WHERE job_id IN (SELECT value FROM json_each(?)) ORDER BY id""",
            (json.dumps(list(jobs)),),
        )
        for row in rows:
            log[row["job_id"]].append(dict(row))
        return log


def _message(request: JobRequest) -> str:
    parts = [f"R={request.need.each or 1}"]
    if request.walltime_word:
        parts.append(f"W={request.walltime_word}")
    parts.append("J=B")
    if request.name:
        parts.append(f"N={request.name}")
    if request.project != "default":
        parts.append(f"P={request.project}")
    if request.types:
        parts.append(f"T={'|'.join(request.types)}")
    return ",".join(parts)


def live_job(row: sqlite3.Row) -> LiveJob:
    """The scheduler's view of a stored job."""
    types = json.loads(row["types"])
    return LiveJob(
        id=row["id"],
        need=Need(row["each"], row["nodes"]),
        walltime=row["walltime"],
        besteffort="besteffort" in types,
        idempotent="idempotent" in types,
        state=State(row["state"]),
        resources=tuple(json.loads(row["resources"])),
        started=row["started"],
        mark=row["mark"],
        killed=bool(row["frag"]),
        signalled=1e-9 if row["signalled"] else 0.0,  # long ago
        status=row["status"],
        trouble=row["trouble"],
        follower=row["follower"],
    )
