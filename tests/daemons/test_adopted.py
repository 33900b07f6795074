"""Jobs that a CiGri 3 left on a cluster: paired with their tasks by what they run, and followed to their ends."""

from __future__ import annotations

import json

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import text

from cigri.admin.gridadmin import gridadmin
from cigri.core import adopted
from cigri.core.states import JobState
from cigri.db import campaigns
from cigri.db.engine import transaction
from cigri.db.tables import Job, Task

CAMPAIGN = 71
SCRIPT = """#!/bin/bash
while ! [ -e {home}/go ]; do sleep 0.05; done
[ "$1" = bad ] && exit 3
echo "$1" >> {home}/marks
"""


class Old:
    """A CiGri 3 with a campaign on the cluster."""

    def __init__(self, grid, connection, url):
        self.grid, self.connection, self.url = grid, connection, url
        self.program = grid.home / "run.sh"
        self.program.write_text(SCRIPT.format(home=grid.home))
        self.program.chmod(0o755)
        job = {"exec_file": str(self.program), "exec_directory": str(grid.home)}
        jdl = json.dumps({"name": "old", "clusters": {"mini": job}})
        connection.execute(
            "INSERT INTO clusters (id, name, api_url, api_auth_type, batch) VALUES (3, 'mini', %s, 'none', 'oar3')",
            [grid.minioar.url],
        )
        connection.execute(
            "INSERT INTO campaigns (id, grid_user, state, type, name, jdl)"
            " VALUES (%s, 'alice', 'in_treatment', 'normal', 'old', %s)",
            [CAMPAIGN, jdl],
        )

    def task(self, line, state=None, remote_id=None):
        query = "INSERT INTO parameters (campaign_id, name, param) VALUES (%s, %s, %s) RETURNING id"
        key = self.connection.execute(query, [CAMPAIGN, line.split()[0], line]).fetchone()[0]
        if state is None:
            self.connection.execute("INSERT INTO bag_of_tasks (campaign_id, param_id) VALUES (%s, %s)", [CAMPAIGN, key])
        else:
            self.connection.execute(
                "INSERT INTO jobs (campaign_id, param_id, cluster_id, state, remote_id) VALUES (%s, %s, 3, %s, %s)",
                [CAMPAIGN, key, state, remote_id],
            )
        return key

    def submit(self, *lines):
        """An array as CiGri 3 sends it; the ids of its jobs, in the order of the lines."""
        command = f"export CIGRI_CAMPAIGN_ID={CAMPAIGN};{self.program}"
        self.grid.by_hand(adopted.remote_name(CAMPAIGN), command, param_file="\n".join(lines))
        there = self.grid.remote(adopted.remote_name(CAMPAIGN))
        ids = {job["command"].removeprefix(f"{command} "): job["id"] for job in there}
        return [ids[line] for line in lines]


@pytest.fixture
def old(grid, postgres, database, repository):
    with transaction(grid.engine) as session:
        session.execute(text("TRUNCATE clusters CASCADE"))
    with psycopg.connect(postgres.conninfo, autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS cigri3 WITH (FORCE)")
        server.execute("CREATE DATABASE cigri3")
        conninfo = psycopg.conninfo.make_conninfo(postgres.conninfo, dbname="cigri3")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute((repository / "tests/cigri3_layout.sql").read_text())
            url = f"postgresql://postgres@/cigri3?host={database.host}&port={database.port}"
            yield Old(grid, connection, url)


@pytest.fixture
def adopt(old, database, tmp_path):
    config = tmp_path / "cigri.conf"
    config.write_text(
        f'DATABASE_HOST = "{database.host}"\nDATABASE_PORT = "{database.port}"\nDATABASE_NAME = "{database.name}"\n'
        'DATABASE_USER_NAME = "postgres"\n'
    )

    def adopt(status=0):
        done = CliRunner().invoke(gridadmin, ["--config", str(config), "import-cigri3", old.url, "--adopt"])
        assert done.exit_code == status, (done.output, done.exception)
        return done

    return adopt


def test_they_are_followed_to_their_ends(old, adopt, grid):
    """K8."""
    one, ten, bad = old.submit("1", "10", "bad")
    # As CiGri 3 pairs them: 1 is somewhere in the command of 10.
    tasks = {"1": old.task("1", "running", ten), "10": old.task("10", "remote_waiting", one)}
    tasks["bad"] = old.task("bad", "submitted", bad)
    unknown = old.task("unknown", "launching")
    old.task("later")
    told = adopt().stdout
    assert "3 jobs on the clusters are adopted" in told and "1 jobs on the clusters are set aside" in told
    assert {job.task_id: job.remote_id for job in grid.rows(Job) if job.remote_id} == {
        tasks["1"]: one, tasks["10"]: ten, tasks["bad"]: bad,
    }  # fmt: skip
    grid.balanced()
    there = (one, ten, bad)
    grid.until(lambda: {job.state for job in grid.rows(Job) if job.remote_id in there} == {JobState.RUNNING})
    grid.sweep()
    (grid.home / "go").touch()
    grid.finish(CAMPAIGN)
    assert grid.marks() == {"1": 1, "10": 1, "later": 1}
    assert grid.tasks(CAMPAIGN) == {"done": 3, "failed": 2}
    assert {task.id for task in grid.rows(Task) if task.state.value == "failed"} == {tasks["bad"], unknown}
    assert [event.count for event in (*grid.events("EXIT_ERROR"), *grid.events("JOB_LOST"))] == [1, 1]
    grid.balanced()


def test_they_end_with_their_campaign(old, adopt, grid):
    for line, remote_id in zip("abc", old.submit(*"abc"), strict=True):
        old.task(line, "running", remote_id)
    adopt()
    with transaction(grid.engine) as session:
        assert campaigns.cancel(session, CAMPAIGN) == 3
    grid.until(lambda: not grid.live())
    grid.until(lambda: grid.tasks(CAMPAIGN) == {"cancelled": 3})
    assert not grid.marks()


def test_a_job_that_is_another_is_not_adopted(old, adopt, grid):
    mine = old.submit("a")[0]
    other = grid.by_hand("cigri.72", f"export CIGRI_CAMPAIGN_ID=72;{old.program} b")
    plain = grid.by_hand("plain", f"{old.program} c")
    for line, remote_id in (("a", mine), ("b", other), ("c", plain), ("d", 10**9)):
        old.task(line, "running", remote_id)
    told = adopt(status=1).stderr
    assert "these jobs cannot be adopted" in told and "[2, 3, 4] of campaign 71" in told
    assert grid.rows(Job) == []


def test_a_job_that_becomes_another_is_not_believed(old, adopt, grid):
    """The cluster's database was made anew: the number means somebody else's job."""
    mine = old.submit("a")[0]
    old.task("a", "running", mine)
    adopt()
    grid.until(lambda: grid.rows(Job)[0].state is JobState.RUNNING)
    impostor = grid.by_hand("cigri.71", "export CIGRI_CAMPAIGN_ID=71;true another")
    with transaction(grid.engine) as session:
        session.execute(text("UPDATE jobs SET remote_id = :id"), {"id": impostor})
        session.execute(text("UPDATE submissions SET array_id = :id"), {"id": impostor})
    grid.until(lambda: grid.events("JOB_LOST"))
    assert grid.tasks(CAMPAIGN) == {"failed": 1}
