"""Sixty million jobs: what the API answers before and after `gridadmin maintenance`, and how long that takes.

python tests/bench/bench_large.py [PART]; PART: another size, 1 is the whole (40 GB of disk, half an hour or more).

A quarter lies in the tables that the daemons work on: what is recent, and what is old enough to be archived. The rest
was archived before. The database is deleted afterwards.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from asking import asked, configuration, measured, served
from bench_views import recent
from figures import TOP, Figure, report, say
from large_tables import Filler, Wave, told, without_indexes

from cigri.client import Client
from cigri.db.migrate import migrate
from cigri.local.postgres import EmbeddedPostgres

LIVE = ("tasks", "jobs", "submissions", "events")
ARCHIVE = tuple(f"archived_{table}" for table in LIVE)
TASKS = 10_000  # of one old campaign


def due(part: float) -> Wave:
    """What the maintenance has to archive: ten million tasks, over for one to six months."""
    return Wave(number=10 * int(100 * part), length=TASKS, slots=10, oldest=180, youngest=31)


def gone(part: float) -> Wave:
    """What was archived before: 45 million."""
    return Wave(number=10 * int(450 * part), length=TASKS, slots=10, oldest=900, youngest=181)


def fill(conninfo: str, part: float) -> dict[str, int]:
    """Write all of it; a campaign of each kind by what it is."""
    migrate(conninfo)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        filler = Filler(connection)
        with told("written: what is recent, what is to be archived"), without_indexes(connection, *LIVE):
            filler.live(recent(part), int(800_000 * part))
            filler.live(due(part), int(200_000 * part))
        with told("written: what is archived"), without_indexes(connection, *ARCHIVE):
            filler.archived(gone(part), int(1_000_000 * part))
            filler.finish()
        with told("vacuumed and analysed"):
            connection.execute("VACUUM (ANALYZE)")
    others = 1 + recent(part).number
    first = {"recent": 1, "old": others + due(part).number // 2}
    return first | {"older": others + due(part).number + gone(part).number // 2}


def sizes(conninfo: str, tables: tuple[str, ...]) -> float:
    """GB of these tables with their indexes."""
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) AS name", (list(tables),)
        ).fetchone()
    assert row is not None
    return float(row[0]) / 1e9


def rows(conninfo: str, table: str) -> int:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - our own names
    assert row is not None
    return int(row[0])


def look(client: Client, when: str, campaigns: dict[str, int], big: int) -> list[Figure]:
    """What is asked of a recent campaign of a million tasks, and of an old one."""
    figures = []
    for kind, campaign in campaigns.items():
        say(f"{when}, a campaign that is {kind}:")
        what = asked(client, campaign, big if kind == "recent" else TASKS)
        if kind == "recent":
            what = {"the list of campaigns": lambda: client.get("/campaigns"), **what}
        found = measured(what, 100)
        figures += [Figure(f"{when}: {kind}, {name}, p95", p95, "ms", most=100.0) for name, (_, p95) in found.items()]
    return figures


def maintain(environ: dict[str, str]) -> float:
    """Call gridadmin maintenance; the seconds that it took."""
    began = time.monotonic()
    code = "from cigri.admin.gridadmin import gridadmin; gridadmin()"
    done = subprocess.run(
        [sys.executable, "-c", code, "maintenance"], env=environ, cwd=TOP, capture_output=True, text=True, check=True
    )
    say(done.stdout.strip())
    return time.monotonic() - began


def main() -> None:
    part = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    big = recent(part).big
    with tempfile.TemporaryDirectory() as name, EmbeddedPostgres(None, durable=False, die_with_parent=True) as server:
        folder, conninfo = Path(name), server.conninfo
        environ = configuration(folder, conninfo)
        campaigns = fill(conninfo, part)
        jobs = rows(conninfo, "jobs"), rows(conninfo, "archived_jobs")
        say(f"{jobs[0]} jobs, and {jobs[1]} archived ones")
        before = sizes(conninfo, LIVE), sizes(conninfo, ARCHIVE)
        with served(folder, environ) as client:
            figures = look(client, "before", campaigns, big)
            seconds = maintain(environ)
            figures += look(client, "after", campaigns, big)
        again = maintain(environ)
        after = sizes(conninfo, LIVE), sizes(conninfo, ARCHIVE)
        moved = rows(conninfo, "archived_jobs") - jobs[1]
        with psycopg.connect(conninfo, autocommit=True) as connection, told("VACUUM FULL of the others"):
            for table in LIVE:
                connection.execute(f"VACUUM FULL {table}".encode())
        packed = sizes(conninfo, LIVE)
    report(
        f"Maintenance of {sum(jobs)} jobs, {jobs[1]} of them archived before",
        [
            Figure("jobs archived", moved),
            Figure("maintenance, the first time", seconds, "s"),
            Figure("jobs archived in a second", moved / seconds, "1/s"),
            Figure("maintenance, with nothing to do", again, "s"),
            Figure("the daemons' tables with their indexes, before", before[0], "GB"),
            Figure("the daemons' tables with their indexes, after", after[0], "GB"),
            Figure("... of which is in use (what VACUUM FULL leaves)", packed, "GB"),
            Figure("the archive with its indexes, before", before[1], "GB"),
            Figure("the archive with its indexes, after", after[1], "GB"),
            *figures,
        ],
    )


if __name__ == "__main__":
    main()
