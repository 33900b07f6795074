"""gridadmin as an administrator uses it: the real command in processes of its own, on a real database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from cigri.admin.gridadmin import gridadmin
from cigri.local.minioar.launch import Minioar

Run = Callable[..., Result]

ADD = ("--batch", "oar3", "--api-url", "http://127.0.0.1:6668/oarapi/", "--auth", "none")


def write_config(path: Path, host: str, port: int, name: str) -> None:
    path.write_text(
        f'DATABASE_HOST = "{host}"\nDATABASE_PORT = "{port}"\nDATABASE_NAME = "{name}"\n'
        'DATABASE_USER_NAME = "postgres"\nREST_QUERIES_TIMEOUT = "5"\n'
    )


@pytest.fixture
def config(tmp_path: Path, database) -> Path:
    path = tmp_path / "cigri.conf"
    write_config(path, database.host, database.port, database.name)
    return path


@pytest.fixture
def run(config: Path) -> Run:
    """gridadmin in this process: a hundred of its own would cost a minute."""

    def run(*arguments: str, status: int = 0, **environment: str) -> Result:
        done = CliRunner().invoke(gridadmin, arguments, env={"CIGRICONFFILE": str(config), **environment})
        assert done.exit_code == status, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done

    return run


@pytest.fixture
def launch(config: Path, repository: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """gridadmin in a process of its own."""

    def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = "from cigri.admin.gridadmin import gridadmin; gridadmin(prog_name='gridadmin')"
        return subprocess.run(
            [sys.executable, "-W", "error", "-P", "-c", code, *arguments],
            cwd=config.parent,
            env={**os.environ, "CIGRICONFFILE": str(config), "PYTHONPATH": str(repository)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return launch


@pytest.fixture
def sql(database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        yield connection


def one(sql: psycopg.Connection, query: str) -> object:
    row = sql.execute(query).fetchone()
    return row and (row[0] if len(row) == 1 else row)


# --- the database


def test_init_then_check_and_migrate(postgres, sql, config, run, database):
    sql.execute("CREATE DATABASE fresh")
    try:
        write_config(config, database.host, database.port, "fresh")
        assert "run `gridadmin db init`" in run("cluster", "list", status=1).stderr
        assert "run `gridadmin db init`" in run("db", "migrate", status=1).stderr
        done = run("db", "init", "--first-campaign", "5000")
        assert done.stdout.startswith("database fresh: schema loaded (schema.sql, ")
        assert "nothing done" in run("db", "init").stdout
        assert "nothing to apply" in run("db", "migrate").stdout
        assert "balance" in run("db", "check").stdout
        with psycopg.connect(f"{database.conninfo} dbname=fresh") as fresh:
            assert fresh.execute("SELECT nextval('campaigns_id_seq')").fetchone() == (5000,)
    finally:
        sql.execute("DROP DATABASE fresh WITH (FORCE)")


def test_check_names_what_does_not_balance(run, sql):
    sql.execute("INSERT INTO campaigns (grid_user, name, jdl, total_tasks) VALUES ('alice', 'c', '{}', 2)")
    done = run("db", "check", status=1)
    assert "campaign 1: 2 tasks declared, 0 there" in done.stderr
    assert done.stderr.endswith(": 1 fault\n")


def test_no_database_and_no_configuration_are_said_in_a_line(config, run, database, tmp_path):
    write_config(config, database.host, database.port, "nowhere")
    done = run("cluster", "list", status=1)
    assert 'database "nowhere" does not exist' in done.stderr
    write_config(config, str(tmp_path), 5432, "nowhere")
    assert run("db", "check", status=1).stderr.startswith("gridadmin: database nowhere: ")
    assert "No such file" in run("db", "init", status=1, CIGRICONFFILE="/no/such.conf").stderr
    config.write_text("DATABASE_HOTS = x\n")
    assert "DATABASE_HOST" in run("cluster", "list", status=1).stderr


def test_the_database_can_be_named_on_the_command_line(config, run):
    done = run("--config", str(config), "cluster", "list", CIGRICONFFILE="/no/such.conf")
    assert done.stdout.startswith("no cluster yet")


# --- clusters


def test_a_cluster_from_its_beginning_to_its_end(run, sql):
    """C9."""
    sql.execute("LISTEN cigri")
    done = run("cluster", "add", "alpha", *ADD, "--power", "3", "--stress-factor", "1.5")
    assert done.stdout == "cluster alpha added as number 1\n"
    assert next(sql.notifies(timeout=5)).payload == "clusters"
    assert one(sql, "SELECT api_url, power, stress_factor, enabled FROM clusters") == (
        "http://127.0.0.1:6668/oarapi",
        3,
        1.5,
        True,
    )
    assert one(sql, "SELECT count(*) FROM cluster_status") == 1

    listed = run("cluster", "list").stdout.splitlines()
    assert listed[0].split() == ["id", "name", "batch", "auth", "enabled", "power", "url"]
    assert listed[1].split() == ["1", "alpha", "oar3", "none", "yes", "3", "http://127.0.0.1:6668/oarapi"]
    shown = run("cluster", "show", "alpha").stdout
    assert "api_auth_header:       X-Remote-Ident" in shown and "live_jobs:             0" in shown

    assert json.loads(run("cluster", "list", "-d").stdout)[0]["name"] == "alpha"
    assert json.loads(run("cluster", "show", "alpha", "--dump").stdout)["power"] == 3

    done = run("cluster", "set", "alpha", "power=5", "stress-factor=none", "--ssh-host", "front")
    assert "power = 5" in done.stdout
    assert one(sql, "SELECT power, stress_factor, ssh_host, url_generation FROM clusters") == (5, None, "front", 1)
    run("cluster", "set", "alpha", "api_url=http://127.0.0.1:6669")
    run("cluster", "set", "alpha", "API_URL=http://127.0.0.1:6669/")
    assert one(sql, "SELECT api_url, url_generation FROM clusters") == ("http://127.0.0.1:6669", 2)

    assert "disabled; 0 live jobs" in run("cluster", "disable", "alpha").stdout
    assert one(sql, "SELECT enabled FROM clusters") is False
    assert run("cluster", "enable", "alpha").stdout == "cluster alpha enabled\n"
    assert "already" in run("cluster", "enable", "alpha").stdout
    assert run("cluster", "remove", "alpha").stdout == "cluster alpha removed\n"
    assert one(sql, "SELECT removed_at IS NOT NULL AND NOT enabled FROM clusters") is True
    assert "no cluster alpha" in run("cluster", "show", "alpha", status=1).stderr
    run("cluster", "add", "alpha", *ADD)
    assert one(sql, "SELECT count(*) FROM clusters WHERE name = 'alpha'") == 2


def test_faults_of_the_administrator(run, sql):
    run("cluster", "add", "alpha", *ADD, "--disabled")
    assert "already" in run("cluster", "add", "alpha", *ADD, status=1).stderr
    assert "did you mean alpha?" in run("cluster", "show", "alhpa", status=1).stderr
    assert "there are: alpha" in run("cluster", "disable", "zzz", status=1).stderr
    assert "NAME" in run("cluster", "add", "bad name", *ADD, status=2).stderr
    assert "Missing option '--auth'" in run("cluster", "add", "b", *ADD[:4], status=2).stderr
    assert "nothing to set" in run("cluster", "set", "alpha", status=2).stderr
    assert "KEY=VALUE" in run("cluster", "set", "alpha", "power", status=2).stderr
    assert "did you mean power" in run("cluster", "set", "alpha", "powre=3", status=2).stderr
    assert "power" in run("cluster", "set", "alpha", "power=0", status=2).stderr
    assert "--user" in run("cluster", "test", "alpha", "--submit", status=2).stderr
    assert one(sql, "SELECT power FROM clusters") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--batch": "oar2_5", "--auth": "jwt"}, "knows no tokens"),
        ({"--batch": "g5k"}, "g5k is gone"),
        ({"--auth": "cert"}, "REST_CLIENT_CERTIFICATE_FILE"),
        ({"--auth": "password"}, "needs a user name and a password"),
        ({"--auth": "jwt", "--token-file": "token"}, "absolute path"),
        ({"--token-file": "/t"}, "jwt only"),
        ({"--api-url": "oar.example/oarapi"}, "not a URL"),
        ({"--api-url": "http://root:secret@oar.example"}, "user name"),
    ],
)
def test_what_this_release_cannot_talk_to_is_refused_with_a_reason(run, sql, change, words):
    """K4."""
    options = {**dict(zip(ADD[::2], ADD[1::2], strict=True)), **change}
    done = run("cluster", "add", "alpha", *(word for pair in options.items() for word in pair), status=1)
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert one(sql, "SELECT count(*) FROM clusters") == 0


def test_authentication_can_be_changed_both_ways(run, sql, tmp_path):
    """K3."""
    run("cluster", "add", "alpha", *ADD)
    assert run("cluster", "set", "alpha", "auth=jwt").stdout == "cluster alpha: api_auth_type = jwt\n"
    assert one(sql, "SELECT api_auth_type, token_file FROM clusters") == ("jwt", None)
    run("cluster", "set", "alpha", "auth=jwt", f"token_file={tmp_path}/token")
    assert one(sql, "SELECT api_auth_type, token_file FROM clusters") == ("jwt", f"{tmp_path}/token")
    run("cluster", "set", "alpha", "--auth", "none")
    assert one(sql, "SELECT api_auth_type, token_file FROM clusters") == ("none", None)


def test_limits_of_a_cluster(run, sql):
    columns = "SELECT max_jobs, max_per_minute FROM clusters"
    run("cluster", "add", "alpha", *ADD, "--max-jobs", "40")
    assert one(sql, columns) == (40, None)
    done = run("cluster", "set", "alpha", "max_jobs=12", "max-per-minute=600")
    assert done.stdout == "cluster alpha: max_jobs = 12, max_per_minute = 600\n"
    assert one(sql, columns) == (12, 600)
    for bad in ("max_jobs=0", "max_jobs=-3", "max_jobs=1.5", "max_jobs=many", "max_per_minute=0", f"max_jobs={2**31}"):
        assert bad.partition("=")[0] in run("cluster", "set", "alpha", bad, status=2).stderr
    assert one(sql, columns) == (12, 600)
    shown = run("cluster", "show", "alpha").stdout
    assert "max_jobs:              12\n" in shown and "max_per_minute:        600\n" in shown
    run("cluster", "set", "alpha", "max_jobs=none")
    run("cluster", "set", "alpha", "--max-per-minute", "none")
    assert one(sql, columns) == (None, None)


def test_the_load_sensor_of_a_cluster(run, sql):
    columns = "SELECT load_sensor, load_reference FROM clusters"
    run("cluster", "add", "alpha", *ADD, "--load-sensor", "https://server.example/load", "--load-reference", "4")
    assert one(sql, columns) == ("https://server.example/load", 4.0)
    command = "/usr/local/bin/nfs-load --of 'file server'"
    run("cluster", "set", "alpha", f"load_sensor={command}", "load_reference=2.5")
    assert one(sql, columns) == (command, 2.5)
    for bad, words in (
        ("load_sensor=nfs-load", "absolute path"),
        ("load_sensor=ftp://server/", "http"),
        ("load_sensor=http://root:secret@server/", "no password"),
        ("load_reference=0", "0"),
        ("load_reference=high", "high"),
    ):
        assert words in run("cluster", "set", "alpha", bad, status=2).stderr
    assert "needs a load_reference" in run("cluster", "set", "alpha", "load_reference=none", status=1).stderr
    assert one(sql, columns) == (command, 2.5)
    sql.execute(
        "INSERT INTO load_sensors (sensor, load, read_at, fault, ceiling) VALUES (%s, 1.5, now(), 'timed out', 70)",
        (command,),
    )
    shown = run("cluster", "show", "alpha").stdout
    for line in ("load:                  1.5", "load_fault:            timed out", "load_ceiling:          70.0"):
        assert f"{line}\n" in shown
    run("cluster", "set", "alpha", "load_sensor=none")
    assert one(sql, columns) == (None, None)
    assert "without a load_sensor" in run("cluster", "set", "alpha", "load_reference=3", status=1).stderr
    assert "needs a load_reference" in run("cluster", "add", "b", *ADD, "--load-sensor", "/bin/l", status=1).stderr


# Cluster 1 with two jobs that are being sent there.
BUSY = """
    INSERT INTO campaigns (grid_user, name, jdl, total_tasks) VALUES ('alice', 'c', '{}', 2);
    INSERT INTO campaign_clusters (campaign_id, cluster_id) VALUES (1, 1);
    INSERT INTO allowances (cluster_id, campaign_id, tasks, rank) VALUES (1, 1, 10, 1);
    INSERT INTO tasks (campaign_id, state, line) VALUES (1, 'active', 'a'), (1, 'active', 'b');
    INSERT INTO submissions (name, campaign_id, cluster_id, login, url_generation, size, remote_clock)
        VALUES ('n', 1, 1, 'alice', 1, 2, 0);
    INSERT INTO jobs (task_id, campaign_id, cluster_id, submission_id, state)
        SELECT id, 1, 1, 1, 'launching' FROM tasks
"""


def test_a_cluster_with_jobs_is_not_removed(run, sql):
    run("cluster", "add", "alpha", *ADD)
    sql.execute(BUSY)
    done = run("cluster", "remove", "alpha", status=1)
    assert "2 live jobs and 1 unsettled submission:" in done.stderr
    assert one(sql, "SELECT enabled AND removed_at IS NULL FROM clusters") is True
    assert one(sql, "SELECT count(*) FROM allowances") == 1
    assert "2 live jobs followed" in run("cluster", "disable", "alpha").stdout
    assert one(sql, "SELECT count(*) FROM allowances") == 0
    moved = run("cluster", "set", "alpha", "api_url=http://127.0.0.1:7000", status=1)
    assert "drain it first" in moved.stderr and "--same-cluster" in moved.stderr
    run("cluster", "set", "alpha", "api_url=http://127.0.0.1:7000", "--same-cluster")
    assert one(sql, "SELECT api_url, url_generation FROM clusters") == ("http://127.0.0.1:7000", 1)
    sql.execute(
        """UPDATE jobs SET state = 'event', ended_at = now();
        UPDATE submissions SET state = 'settled', settled_at = now()"""
    )
    done = run("cluster", "remove", "alpha")
    assert "1 unfinished campaign may use no other cluster" in done.stderr
    assert one(sql, "SELECT count(*) FROM jobs") == 2, "history stays"


def test_draining(run, sql):
    run("cluster", "add", "alpha", *ADD)
    done = run("cluster", "drain", "alpha", "--wait", "5")
    assert done.stdout == (
        "cluster alpha disabled; 0 jobs called back, 0 followed to the end\ncluster alpha is empty\n"
    )
    sql.execute(BUSY)
    done = run("cluster", "drain", "alpha")
    assert "2 jobs called back, 0 followed" in done.stdout
    assert one(sql, "SELECT string_agg(DISTINCT kill_reason, ',') FROM jobs") == "recalled"
    sql.execute("UPDATE jobs SET kill_reason = NULL, kill_at = NULL, kill_next = NULL")
    done = run("cluster", "drain", "alpha", "--now", "--wait", "0", status=1)
    assert "3 jobs of the grid on cluster alpha after 0 s" in done.stderr
    assert one(sql, "SELECT string_agg(DISTINCT kill_reason, ',') FROM jobs") == "drained"


def test_a_dead_cluster_is_removed_and_its_jobs_forgotten(run, sql):
    run("cluster", "add", "alpha", *ADD)
    sql.execute(BUSY)
    sql.execute(
        "INSERT INTO duties (name, epoch, host, pid, backend_pid, seen) VALUES ('runner alpha', 7, 'h', 1, 1, now())"
    )
    assert run("cluster", "remove", "alpha", "--forget-jobs").stdout == "cluster alpha removed, 2 jobs forgotten\n"
    assert one(sql, "SELECT string_agg(DISTINCT state::text, ',') FROM tasks") == "failed"
    assert one(sql, "SELECT code, count, state::text FROM events WHERE code = 'JOB_LOST'") == ("JOB_LOST", 2, "open")
    assert one(sql, "SELECT epoch FROM duties") == 8, "whoever follows the cluster now is fenced"
    assert one(sql, "SELECT count(*) FROM submissions WHERE state = 'sending'") == 0
    assert "the books balance" in run("db", "check").stdout


# --- trying a cluster


@pytest.fixture
def minioar(tmp_path: Path) -> Iterator[Minioar]:
    (tmp_path / "home").mkdir()
    cluster = Minioar(
        tmp_path / "minioar", 4, round=0.05, die_with_parent=True, environment={"HOME": str(tmp_path / "home")}
    )
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def alpha(minioar: Minioar, run: Run) -> str:
    run("cluster", "add", "alpha", "--batch", "oar3", "--api-url", minioar.url, "--auth", "none")
    return "alpha"


def test_trying_a_cluster_with_a_job(run, alpha, tmp_path):
    """C9."""
    directory = str(tmp_path / "home")
    done = run("cluster", "test", alpha, "--user", "alice", "--submit", "--directory", directory)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("clock: 0 s ")
    assert lines[1] == "scheduler: answers"
    assert lines[2] == "resources: 4 (resource_id), 4 free, 0 unavailable, 4 for best-effort jobs"
    assert lines[3].startswith("stress factor: ")
    assert lines[4] == "jobs of alice: 0"
    assert any(line.endswith(": Terminated") for line in lines)
    assert lines[-1] == "cluster alpha: all is well"


def test_trying_a_cluster_reads_its_load_sensor(run, alpha):
    run("cluster", "set", alpha, "load_sensor=/bin/echo load 3.5", "load_reference=4")
    assert "load sensor: 3.5 of 4\n" in run("cluster", "test", alpha).stdout
    run("cluster", "set", alpha, "load_sensor=/bin/false")
    assert (
        "the load sensor (/bin/false) gives no load: exit status 1\n" in run("cluster", "test", alpha, status=1).stderr
    )


def test_a_job_that_fails_is_told(run, alpha):
    done = run("cluster", "test", alpha, "--user", "alice", "--submit", "--directory", "/no/where", status=1)
    assert "failed: Error" in done.stderr


def test_a_job_that_does_not_end_is_deleted(run, alpha, tmp_path):
    run("cluster", "set", alpha, "power=1")
    directory = str(tmp_path / "home")
    done = run(
        "cluster", "test", alpha, "--user", "alice", "--submit", "--directory", directory, "--wait", "0.0001", status=1
    )
    assert "had not ended after 0.0001 s" in done.stderr
    assert "deletion asked for" in done.stdout or "job 1: Finishing" in done.stdout  # it was quicker


def test_a_cluster_that_is_not_there(run):
    run("cluster", "add", "gone", "--batch", "oar3", "--api-url", "http://127.0.0.1:1", "--auth", "none")
    done = run("cluster", "test", "gone", status=1)
    assert done.stderr == "gridadmin: cluster gone: GET /: Connection refused\n"


def test_requests_are_shown_when_asked_for(launch, alpha):
    assert "cluster alpha: GET /: 200 in" in launch("-v", "cluster", "test", alpha).stderr


def test_a_process_of_its_own_leaves_no_traceback_and_no_open_connection(launch, config):
    done = launch("cluster", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("no cluster yet")
    config.write_text("nonsense\n")
    done = launch("cluster", "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f'gridadmin: {config}:1: this is no line KEY = "value"\n'


def test_help_needs_no_database_driver(repository):
    code = (
        "import sys; from cigri.admin.gridadmin import gridadmin;"
        "gridadmin(['cluster', 'add', '-h'], standalone_mode=False);"
        "assert not {'sqlalchemy', 'psycopg', 'requests'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=repository, check=True, stdout=subprocess.DEVNULL, timeout=60)
