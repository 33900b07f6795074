"""The embedded PostgreSQL: as any user, under any folder, kept or not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cigri.local import processes
from cigri.local.postgres import EmbeddedPostgres, PostgresError


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder: for root, one that `nobody` cannot pass through."""
    place = Path(tempfile.mkdtemp(prefix="cigri-test-"))
    yield place
    shutil.rmtree(place)


def ask(server: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
        return row and row[0]


def test_what_is_committed_is_there_after_a_stop_by_somebody_else(folder: Path) -> None:
    deep = folder / ("d" * 100)
    deep.mkdir()
    first = EmbeddedPostgres(deep / "data", durable=True, die_with_parent=False)
    first.start()
    try:
        assert ask(first, "SELECT current_setting('fsync')") == "on"
        assert ask(first, "SELECT current_setting('listen_addresses')") == ""
        with psycopg.connect(first.conninfo) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        pid = first.running()
        first.start()
        assert first.running() == pid
        EmbeddedPostgres(deep / "data", durable=True).stop()
        assert first.running() is None
        first.stop()
        first.start()
        assert ask(first, "SELECT answer FROM kept") == 42
        os.kill(first.running() or 0, signal.SIGKILL)
        assert processes.until(lambda: first.running() is None, 10)
        first.stop()
        first.start()
        assert ask(first, "SELECT answer FROM kept") == 42
    finally:
        first.stop()
    assert (deep / "data").stat().st_mode & 0o077 == 0


def test_a_temporary_one_leaves_nothing(folder: Path) -> None:
    with EmbeddedPostgres() as server:
        assert ask(server, "SELECT current_setting('fsync')") == "off"
        data = server.data
    assert not data.exists()


def test_it_dies_with_its_parent(folder: Path) -> None:
    program = (
        "from pathlib import Path; from cigri.local.postgres import EmbeddedPostgres; import sys, time\n"
        "server = EmbeddedPostgres(Path(sys.argv[1]))\n"
        "server.start(); print(server.running(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder / "data")],
        stdout=subprocess.PIPE,
        text=True,
        env=processes.environment(),
    ) as parent:
        assert parent.stdout is not None
        marked = processes.mark(int(parent.stdout.readline()))
        parent.kill()
    assert processes.until(lambda: processes.alive(marked) is None, 10)


def test_a_start_that_fails_says_why(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "PG_VERSION").write_text("7.4\n")
    with pytest.raises(PostgresError, match="did not start"):
        EmbeddedPostgres(folder / "data").start()
