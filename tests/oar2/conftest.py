"""A grid over two real OAR 2.5 clusters, for the whole run; only root can have it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from sqlalchemy import Engine

from cigri import config
from cigri.db import check
from cigri.db.engine import create_engine, transaction
from cigri.local import processes
from cigri.local.grid import LocalGrid
from tests.oar2.real_oar import Failed, RealOar, check_machine

ALICE, BOB = "cigri_alice", "cigri_bob"  # alice's campaigns; bob is one of the clusters' own users
CLUSTERS = {"tiger": 2, "lion": 1}  # nodes of two cores
PATIENCE = 240.0
QUICK = {
    "DAEMON_PERIOD": "1",
    "RUNNER_MIN_CYCLE_DURATION": "1",
    "RESUBMIT_LOOK_DELAY": "5",
    "SETTLE_READING_DELAY": "2",
    "KILL_RETRY_DELAY": "4",
    "AUTOFIX_DELAY": "2",
    "GRID_USAGE_UPDATE_PERIOD": "5",
    "DEFAULT_JOB_RESOURCES": "/core=1",
}
TASK = """#!/bin/bash
echo "$1" >>started
while [ "$2" = hold ] && [ ! -e go ]; do sleep 0.2; done
[ "${2:-hold}" = hold ] || sleep "$2"
echo "$1" >>finished
exit "${3:-0}"
"""


class Bench:
    """The grid, its clusters, and where alice's tasks work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.local = LocalGrid(folder / "grid", die_with_parent=True)
        self.engine: Engine | None = None
        self.oars = {
            name: RealOar(folder / name, nodes=nodes, cores=2, users=(ALICE, BOB)) for name, nodes in CLUSTERS.items()
        }

    def up(self) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(RealOar.up, self.oars.values()))
        self.local.up({}, QUICK)
        self.engine = create_engine(config.load(str(self.local.layout.config)).database_url())
        for name, oar in self.oars.items():
            words = ["--batch", "oar2_5", "--api-url", oar.url, "--auth", "none"]
            self.command("gridadmin", "cluster", "add", name, *words)
            self.command("gridadmin", "user", "map", "root", name, ALICE)

    def down(self) -> None:
        if self.engine is not None:
            self.engine.dispose()
        if self.local.layout.lock.exists():
            self.local.down()
        for oar in self.oars.values():
            oar.down()

    def command(self, name: str, *words: str) -> str:
        module = "cigri.admin.gridadmin" if name == "gridadmin" else f"cigri.cli.{name}"
        return self.local.run(module, name, *words)

    def home(self, name: str) -> Path:
        """An empty folder of alice's, with a program that leaves marks in it."""
        folder = Path(pwd.getpwnam(ALICE).pw_dir) / f"{name}-{os.urandom(4).hex()}"
        folder.mkdir()
        (folder / "task").write_text(TASK)
        for path in (folder, folder / "task"):
            path.chmod(0o755)
            shutil.chown(path, ALICE, ALICE)
        return folder

    def submit(self, home: Path, params: list[str], clusters: Mapping[str, Any], **more: Any) -> int:
        """Submit a campaign that works in that folder; its id."""
        jdl = {"name": home.name, "params": params, "exec_file": "./task", "exec_directory": str(home)}
        jdl |= {"walltime": "0:05:00", "clusters": clusters, **more}
        return int(self.command("gridsub", "-j", json.dumps(jdl)).split("CAMPAIGN_ID=")[1].split()[0])

    def rows(self, query: LiteralString, *values: object) -> list[Any]:
        assert self.engine is not None
        url = self.engine.url.set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            return connection.execute(query, values).fetchall()

    def value(self, query: LiteralString, *values: object) -> Any:
        return self.rows(query, *values)[0][0]

    def wait(self, what: Any, seconds: float = PATIENCE) -> None:
        assert processes.until(what, seconds, 0.3), self.story()

    def ended(self, campaign: int) -> bool:
        return self.value("SELECT state FROM campaigns WHERE id = %s", campaign) in ("terminated", "cancelled")

    def forgotten(self) -> set[tuple[str, int]]:
        """The jobs that the clusters leave in the middle of their launch: (cluster, its id of the job)."""
        return {(name, number) for name, oar in self.oars.items() for number in oar.forgotten()}

    def wait_end(self, campaign: int, seconds: float = PATIENCE) -> None:
        self.wait(lambda: self.ended(campaign), seconds)
        live: LiteralString = (
            "SELECT count(*) FROM jobs WHERE campaign_id = %s AND state NOT IN ('terminated', 'event')"
        )
        self.wait(lambda: self.value(live, campaign) == 0, seconds)

    def tasks(self, campaign: int) -> Counter[str]:
        return Counter(row[0] for row in self.rows("SELECT state::text FROM tasks WHERE campaign_id = %s", campaign))

    def events(self, campaign: int) -> dict[str, str]:
        """The campaign's events: code -> message."""
        return dict(self.rows("SELECT code, message FROM events WHERE campaign_id = %s ORDER BY id", campaign))

    def story(self) -> str:
        """What was said last, for a test that fails."""
        log = self.local.layout.log("almighty").read_text(errors="replace")[-6000:]
        jobs = self.rows("SELECT id, state, remote_id, outcome, submission_id FROM jobs ORDER BY id DESC LIMIT 20")
        events = self.rows("SELECT code, state, message FROM events ORDER BY id DESC LIMIT 10")
        return f"{log}\n{jobs}\n{events}"

    def balance(self, campaign: int, home: Path | None = None) -> None:
        """The books balance, agree with both clusters' own job by job, and with the marks that the tasks left."""
        assert self.engine is not None
        with transaction(self.engine) as session:
            assert check.faults(session) == []
        ours = self.rows(
            """SELECT c.name, coalesce(j.remote_id, 0), j.chain, j.state = 'terminated' FROM jobs j
               JOIN clusters c ON c.id = j.cluster_id WHERE j.campaign_id = %s""",
            campaign,
        )
        successes, known = set(), set()
        for cluster, remote_id, chain, success in ours:
            known |= {(cluster, number) for number in (remote_id, *chain)}
            if success:
                successes.add((cluster, remote_id))
        theirs = self.ledger(campaign)
        assert theirs.keys() <= known, "jobs that the grid does not know"
        assert known - {(name, 0) for name in self.oars} <= theirs.keys(), "jobs that are not there"
        assert {key for key, (state, exit_code) in theirs.items() if exit_code == "0"} == successes
        assert {state for state, _ in theirs.values()} <= {"Terminated", "Error"}
        if home is not None:
            query: LiteralString = "SELECT line FROM tasks WHERE campaign_id = %s AND state = 'done'"
            done = Counter(line.split()[0] for (line,) in self.rows(query, campaign))
            finished = marks(home, "finished")
            assert done == finished, "a task was counted that had not finished once"
            assert finished.keys() <= marks(home, "started").keys()

    def ledger(self, campaign: int) -> dict[tuple[str, int], tuple[str, str]]:
        """What the clusters' own databases have of the campaign: (cluster, job) -> (state, exit status)."""
        found = {}
        for name, oar in self.oars.items():
            for line in oar.sql(
                "SELECT job_id, job_name, state, exit_code FROM jobs WHERE job_name IS NOT NULL"
            ).split():
                number, job_name, state, exit_code = line.split("|")
                if job_name.split(".")[:1] == ["cigri"] and job_name.split(".")[2] == str(campaign):
                    found[name, int(number)] = (state, exit_code)
        return found


def marks(home: Path, name: str) -> Counter[str]:
    """How often each task left that mark."""
    file = home / name
    return Counter(file.read_text().split()) if file.exists() else Counter()


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    if os.geteuid() != 0:
        pytest.skip("a real OAR is set up by root only: run `make test-oar2` as root on Debian 12")
    check_machine()
    folder = Path(tempfile.mkdtemp(prefix="cigri-oar2-"))
    folder.chmod(0o755)
    bench = Bench(folder)
    try:
        try:
            bench.up()
        except Failed as error:
            pytest.fail(str(error), pytrace=False)
        yield bench
    finally:
        bench.down()
        if os.environ.get("CIGRI_KEEP") != "yes":
            shutil.rmtree(folder)


@pytest.fixture
def whole(bench: Bench) -> Iterator[Bench]:
    """The grid, with nothing left over of the test before."""
    yield bench
    query: LiteralString = "SELECT id FROM campaigns WHERE state IN ('in_treatment', 'paused')"
    for (campaign,) in bench.rows(query):
        bench.command("griddel", str(campaign))
        bench.wait_end(campaign)
