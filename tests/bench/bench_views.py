"""What the API answers when five million jobs and a million events are in the tables.

python tests/bench/bench_views.py [PART]; PART: another size, 1 is the whole.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import psycopg
from asking import asked, configuration, measured, served
from figures import Figure, report
from large_tables import Filler, Wave, told, without_indexes

from cigri.db.migrate import migrate
from cigri.local.postgres import EmbeddedPostgres

BIG = 1_000_000
EVENTS = 1_000_000


def recent(part: float = 1.0) -> Wave:
    """400 campaigns of 10,000 tasks of the last month, a hundred of which have not ended, and one of a million."""
    length = int(10_000 * part)
    return Wave(number=400, length=length, slots=4, oldest=29, youngest=1, running=25, big=100 * length)


def fill(conninfo: str, wave: Wave) -> None:
    migrate(conninfo)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        with told("tables written"), without_indexes(connection, "tasks", "jobs", "submissions", "events"):
            filler = Filler(connection)
            filler.live(wave, int(EVENTS * wave.tasks / 5_000_000))
            filler.finish()
        with told("vacuumed and analysed"):
            connection.execute("VACUUM (ANALYZE)")


def main() -> None:
    wave = recent(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
    with tempfile.TemporaryDirectory() as name, EmbeddedPostgres(None, durable=False, die_with_parent=True) as server:
        folder = Path(name)
        fill(server.conninfo, wave)
        with psycopg.connect(server.conninfo) as connection:
            row = connection.execute("SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM events)").fetchone()
        assert row is not None
        with served(folder, configuration(folder, server.conninfo)) as client:
            what = {"the list of 101 campaigns": lambda: client.get("/campaigns"), **asked(client, 1, wave.big)}
            found = measured(what)
    report(
        f"The API with {row[0]} jobs, {row[1]} events; a campaign of {wave.big} tasks",
        [Figure(f"{each}, p95", p95, "ms", most=100.0) for each, (_, p95) in found.items()]
        + [Figure(f"{each}, p50", p50, "ms") for each, (p50, _) in found.items()],
    )


if __name__ == "__main__":
    main()
