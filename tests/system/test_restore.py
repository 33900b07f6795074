"""The database is lost in mid-campaign and an old dump of it restored, while jobs run on the clusters."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable

import psycopg
import pytest

from cigri.local.postgres import find_bin

PATIENCE = 120.0
TASKS = 40
CLUSTERS = {"a": 3, "b": 2}


@pytest.fixture
def program() -> Callable[..., None]:
    """Run one of PostgreSQL's programs."""

    def run(name: str, *words: str) -> None:
        subprocess.run([str(find_bin() / name), *words], check=True, timeout=PATIENCE)

    return run


def lose_the_database(whole) -> None:
    """The head node dies, and the disk with it."""
    for pid in [whole.almighty(), *whole.daemons()]:
        os.kill(pid, signal.SIGKILL)
    whole.local.daemons.process.wait()
    whole.local.server.stop()
    whole.engine.dispose()
    whole.local.postgres.stop()
    shutil.rmtree(whole.local.layout.database)


def test_an_old_dump_is_restored_while_jobs_run(whole, program, tmp_path) -> None:
    whole.up(CLUSTERS)
    address = whole.engine.url.set(drivername="postgresql")
    campaign = whole.submit(TASKS, CLUSTERS)
    assert whole.until(lambda: whole.done(campaign) >= 5, PATIENCE)
    dump = str(tmp_path / "dump")
    program("pg_dump", "--format=custom", f"--file={dump}", address.render_as_string())
    assert whole.until(lambda: whole.done(campaign) >= 15, PATIENCE)
    lose_the_database(whole)

    whole.local.postgres.start()
    with psycopg.connect(whole.local.postgres.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {address.database}")
    program("pg_restore", "--no-owner", f"--dbname={address.render_as_string()}", dump)
    known = whole.value("SELECT count(*) FROM submissions")
    assert known and whole.done(campaign) < 15
    whole.local.daemons.start()
    whole.local.server.start()
    settled = "SELECT count(*) FROM submissions WHERE state = 'sending'"
    runners = {f"cigri runner {name}" for name in CLUSTERS}
    assert whole.until(lambda: runners <= set(whole.children().values()), PATIENCE)
    assert whole.until(lambda: whole.value(settled) == 0 and not any(map(whole.live, CLUSTERS)), PATIENCE)
    assert whole.value("SELECT count(*) FROM submissions") == known, "nothing is submitted before somebody has looked"

    assert "recovered" in whole.command("gridadmin", "db", "recovered")
    assert whole.until(lambda: whole.state(campaign) == "terminated", PATIENCE), whole.log()[-5000:]
    assert whole.done(campaign) == TASKS and whole.faulty_books() == []
    assert set(whole.marks()) == {f"task-{number}" for number in range(TASKS)}
    assert whole.until(lambda: not any(map(whole.live, CLUSTERS)), PATIENCE)
