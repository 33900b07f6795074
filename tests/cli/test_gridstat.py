"""gridstat, griddel and gridclusters: piped output is the original's, byte for byte."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

HEADING = (
    "Campaign id Name                User             Submission time     S  Progress\n"
    "----------- ------------------- ---------------- ------------------- -- --------\n"
)


@pytest.fixture
def campaign(grid):
    """A campaign with a date, a job and an event."""
    key = grid.submit("one 1", "two 2", "three 3")
    grid.sql("UPDATE campaigns SET submission_time = '2024-05-06 07:08:09Z', grid_user = 'somebody-with-a-long-name'")
    grid.sql("UPDATE campaigns SET name = 'a name that is longer than that'")
    grid.sql(
        "INSERT INTO submissions (name, campaign_id, cluster_id, login, url_generation, state, size,"
        " remote_clock, settled_at) VALUES ('s', %s, 1, 'u', 1, 'settled', 2, 0, now())", key,
    )  # fmt: skip
    grid.sql(
        "INSERT INTO jobs (task_id, campaign_id, cluster_id, submission_id, state, remote_id, exit_code,"
        " ended_at, outcome) SELECT id, campaign_id, 1, 1,"
        " CASE line WHEN 'one 1' THEN 'terminated' ELSE 'event' END::job_state, 40 + id,"
        " CASE line WHEN 'one 1' THEN 0 ELSE 256 END, now(), CASE line WHEN 'one 1' THEN 'success' ELSE 'exit' END"
        " FROM tasks WHERE line <> 'three 3' ORDER BY id"
    )
    grid.sql("UPDATE tasks SET state = 'done' WHERE line = 'one 1'")
    grid.sql("UPDATE tasks SET state = 'failed' WHERE line = 'two 2'")
    grid.sql(
        "INSERT INTO events (class, code, campaign_id, cluster_id, job_id, message, date_open)"
        " VALUES ('job', 'EXIT_ERROR', %s, 1, 2, 'exit code 1', '2024-05-06 07:09:00Z')", key,
    )  # fmt: skip
    return key


def test_the_list(grid, campaign):
    """C2."""
    grid.submit()
    grid.sql("UPDATE campaigns SET state = 'paused', grid_user = 'bob', submission_time = '2024-05-07Z' WHERE id = 2")
    first = "1           a name that is long somebody-with-a- 2024-05-06 07-08-09 Re 1/3 (33%)\n"
    second = "2           test                bob              2024-05-07 00-00-00 P  0/0 (0%)\n"
    assert grid.run("gridstat").stdout == HEADING + first + second
    assert grid.run("gridstat", "-H").stdout == first + second
    assert grid.run("gridstat", "-u", "bob").stdout == HEADING + second
    tokyo = grid.start("gridstat", TZ="JST-9")
    assert "2024-05-06 16-08-09" in tokyo.communicate(timeout=20)[0]


def test_one_campaign(grid, campaign):
    """C2."""
    done = grid.run("gridstat", "-c", campaign)
    assert done.stdout == (
        "Campaign: 1\n"
        "  Name: a name that is longer than that\n"
        "  User: somebody-with-a-long-name\n"
        "  Date: 2024-05-06 07-08-09\n"
        "  State: in_treatment (events)\n"
        "  Progress: 1/3 (33%)\n"
        "  Stats: \n"
        "    average_jobs_duration: 0.0\n"
        "    stddev_jobs_duration: 0.0\n"
        + "".join(line + "\n" for line in done.stdout.splitlines()[9:11])
        + "    failures_rate: 50.0 %\n"
        "    resubmit_rate: 0.0 %\n"
        "  Clusters: \n"
        "    tiger:\n"
        "      active_jobs: 0\n"
        "      queued_jobs: 0\n"
        "      prologue_ok: true\n"
        "      epilogue_ok: true\n"
        "\n"
    )
    assert done.stdout.splitlines()[9].startswith("    jobs_throughput: ")
    assert done.stdout.splitlines()[9].endswith(" jobs/h")
    assert done.stdout.splitlines()[10].endswith(" hours")
    assert grid.run("gridstat", campaign).stdout.splitlines()[:9] == done.stdout.splitlines()[:9]


def test_tasks(grid, campaign):
    """C2."""
    tail = grid.run("gridstat", "-f", campaign).stdout.partition(" Jobs:\n")[2]
    assert tail == (
        "  1: 1,41,terminated,tiger,one,one 1\n  2: 2,42,event,tiger,two,two 2\n  3: *,*,pending,*,three,three 3\n"
    )
    assert grid.run("gridstat", "-f", campaign, "-o", "2").stdout.endswith(" Jobs:\n  3: *,*,pending,*,three,three 3\n")


def test_many_tasks_stop_after_eleven_pages(grid):
    key = grid.submit(*(f"t{number}" for number in range(1150)))
    lines = grid.run("gridstat", "-f", key).stdout.partition(" Jobs:\n")[2].splitlines()
    assert len(lines) == 1101 and lines[1099].endswith(",t1099,t1099")
    assert lines[-1] == "WARNING: more jobs left. Next jobs with --offset=1100"
    lines = grid.run("gridstat", "-f", key, "--offset=1100").stdout.partition(" Jobs:\n")[2].splitlines()
    assert len(lines) == 50


def test_events(grid, campaign):
    rule = "-" * 78 + "\n"
    head = "1: (closed) NEW_CAMPAIGN"
    found = grid.run("gridstat", "-c", campaign, "-e").stdout
    date = grid.client.get(f"/campaigns/{campaign}/events")["items"][0]["date_open"]
    assert found == f"{rule}2: (open) EXIT_ERROR of job 2 at {date} on tiger\nexit code 1\n{rule}" and head not in found
    assert grid.run("gridstat", "-e", "-c", grid.submit()).stdout == "No events!\n"


def test_a_job(grid, campaign):
    lines = grid.run("gridstat", "-j", "2").stdout.splitlines()
    assert lines[0] == "id: 2" and "param: two 2" in lines and "return_code: 256" in lines
    assert "exit_status: exit code 1" in lines and "collect_id: " in lines
    assert not any(line.startswith("links") for line in lines)
    done = grid.run("gridstat", "-j", "2", "-O")
    assert done.returncode == 1 and "tiger" in done.stderr
    done = grid.run("gridstat", "-j", "99")
    assert (done.returncode, done.stdout) == (1, "") and "no job 99" in done.stderr


def test_dumps_are_the_apis_own(grid, campaign):
    """C11."""
    cases = {
        ("-d",): "/campaigns",
        ("-d", campaign): f"/campaigns/{campaign}",
        ("-d", "-f", "-c", campaign): f"/campaigns/{campaign}/jobs",
        ("-d", "-e", "-c", campaign): f"/campaigns/{campaign}/events",
        ("-d", "-j", "1"): "/jobs/1",
    }
    for arguments, path in cases.items():
        plain, pretty = grid.run("gridstat", *arguments).stdout, grid.run("gridstat", "-p", *arguments).stdout
        assert json.loads(plain) == json.loads(pretty) == grid.client.get(path)
        assert plain.count("\n") == 1 and pretty.startswith("{\n  ")
    jdl = grid.run("gridstat", "-J", campaign).stdout
    assert json.loads(jdl)["params"] == ["one 1", "two 2", "three 3"] and jdl.startswith("{\n  ")
    assert json.loads(grid.run("gridstat", "-d", "-u", "nobody").stdout)["total"] == 0


def test_wrong_usage(grid):
    cases = [
        ("-f",), ("-e",), ("-J",), ("-O",), ("-c", "x"), ("1", "-c", "2"), ("-j", "1", "-c", "1"), ("-o", "3", "1"),
        ("-f", "-e", "1"),
    ]  # fmt: skip
    for arguments in cases:
        done = grid.run("gridstat", *arguments)
        assert (done.returncode, done.stdout) == (2, "") and "Usage: gridstat" in done.stderr, arguments
    done = grid.run("gridstat", "-c", "99")
    assert done.returncode == 1 and done.stderr == "Error: There is no campaign 99\n"


def test_a_user_is_for_the_list(grid, campaign):
    """C2."""
    for arguments in (("-c", campaign), (campaign, "-f"), ("-j", "1"), (campaign, "-d")):
        done = grid.run("gridstat", "-u", "bob", *arguments)
        assert (done.returncode, done.stdout) == (2, "") and "--username is for the list" in done.stderr


def test_a_reader_that_leaves_early_is_no_error(grid):
    key = grid.submit(*(f"t{number} {'x' * 2000}" for number in range(1000)))
    for arguments in (f"-f {key}", f"-J {key}", f"-d -f {key}"):
        line = f"{sys.executable} -m cigri.cli.gridstat {arguments} | head -n 1"
        done = subprocess.run(line, shell=True, env=grid.environ, capture_output=True, text=True, timeout=30)
        assert done.stderr == "" and done.stdout.count("\n") == 1


def test_on_a_terminal_it_is_coloured_and_harmless(grid):
    key = grid.submit("a")
    grid.sql("UPDATE campaigns SET name = E'[red]x\\u001b[2J'")
    for arguments in ((), ("-c", key), ("-e", "-c", key)):
        ours, theirs = pty.openpty()
        environ = grid.environ | {"TERM": "xterm-256color", "COLUMNS": "120"}
        line = [sys.executable, "-m", "cigri.cli.gridstat", *arguments]
        process = subprocess.Popen(line, env=environ, stdout=theirs, stderr=subprocess.PIPE)
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:
                break
        os.close(ours)
        assert process.communicate()[1] == b"" and process.returncode == 0
        assert b"\x1b[2J" not in shown
        if "-e" not in arguments:
            assert "[red]x\N{REPLACEMENT CHARACTER}[2J".encode() in shown and b"\x1b[" in shown


def test_griddel(grid):
    """C3."""
    keys = [grid.submit("a", "b") for _ in range(4)]
    done = grid.run("griddel", "-p", keys[0], keys[1])
    assert (done.returncode, done.stdout) == (0, "Campaign 1 paused.\nCampaign 2 paused.\n")
    assert grid.run("griddel", "-r", "-c", "1,2").stdout == "Campaign 1 resumed.\nCampaign 2 resumed.\n"
    done = grid.run("griddel", "-v", "1,3")
    assert done.stdout.splitlines()[0] == "Campaign 1 cancelled." and "2 cancelled" in done.stdout.splitlines()[1]
    done = grid.run("griddel", "1", "2", "99")
    assert (done.returncode, done.stdout) == (1, "Campaign 2 cancelled.\n")
    first, second = done.stderr.splitlines()
    assert (
        first.startswith("Failed to cancel campaign 1: ")
        and second == "Failed to cancel campaign 99: There is no campaign 99"
    )
    assert [one["id"] for one in grid.client.get("/campaigns")["items"]] == [4]
    for arguments in ((), ("-j", "1", "2"), ("-p", "-j", "1"), ("x",)):
        assert grid.run("griddel", *arguments).returncode == 2


def test_griddel_of_a_job(grid, campaign):
    """C3."""
    done = grid.run("griddel", "-j", "1")
    assert done.returncode == 1 and "ended already" in done.stderr
    grid.sql("UPDATE tasks SET state = 'active' WHERE id = 3")
    grid.sql(
        "INSERT INTO jobs (task_id, campaign_id, cluster_id, submission_id, state, remote_id)"
        " VALUES (3, %s, 1, 1, 'running', 9)",
        campaign,
    )
    assert grid.run("griddel", "-j", "3").stdout == "Job 3 cancel event created.\n"
    assert grid.sql("SELECT kill_reason FROM jobs WHERE id = 3") == [("user",)]


def test_gridclusters(grid):
    """C5."""
    assert grid.run("gridclusters").stdout == "1: tiger\n2: lion\n"
    grid.sql("INSERT INTO cluster_status (cluster_id, stress) VALUES (1, 0.25)")
    grid.sql("INSERT INTO events (class, code, cluster_id) VALUES ('cluster', 'BLACKLIST', 2)")
    assert grid.run("gridclusters", "-i").stdout == (
        "1: tiger , tiger.site (stress:0.25/0.8)\n2: lion ,  (stress:0/0.8, BLACKLISTED)\n"
    )
    lines = grid.run("gridclusters", "-I").stdout.splitlines()
    assert lines[0] == "1: tiger" and "    name: tiger" in lines and "    blacklisted: true" in lines
    assert not any("links" in line for line in lines)
    assert json.loads(grid.run("gridclusters", "-d").stdout)["total"] == 2
    assert [one["name"] for one in json.loads(grid.run("gridclusters", "-d", "-p", "-I").stdout)] == ["tiger", "lion"]


def test_usage_of_clusters(grid):
    """C5."""
    assert "Data temporarily unavailable" in grid.run("gridclusters", "-u").stdout
    grid.sql("INSERT INTO grid_usage VALUES (now(), 1, 10, 5, 2, 1)")
    assert grid.run("gridclusters", "-u").stdout.splitlines()[:5] == [
        "1: tiger , tiger.site (stress:0/0.8)", "    max_resources: 10", "    used_resources: 5",
        "    used_by_cigri: 2",
        "    unavailable_resources: 1",
    ]  # fmt: skip
    for option in ("-u", "-b"):
        tiger, lion = json.loads(grid.run("gridclusters", "-d", option).stdout)
        assert (tiger["name"], tiger["usage"]["used_by_cigri"], lion["usage"]) == ("tiger", 2, None)
    bars = grid.run("gridclusters", "-b").stdout.splitlines()
    assert bars[0] == "1: tiger , tiger.site (stress:0/0.8) (10 resources)"
    assert [bars[1].count(f"\x1b[{colour}m") for colour in (41, 43, 47, 42)] == [8, 24, 16, 32]
    assert bars[-1].endswith("=free")


def test_every_command_has_version_and_help_with_exit_codes(grid):
    """C10."""
    for command in ("gridsub", "gridstat", "griddel", "gridclusters", "gridevents", "gridclean"):
        assert grid.run(command, "--version").stdout.startswith(f"{command} v")
        told = grid.run(command, "-h")
        assert told.returncode == 0 and f"Usage: {command} " in told.stdout and "Exit codes: 0" in told.stdout


def test_the_launchers_of_a_checkout(grid, repository, tmp_path):
    link = tmp_path / "gridcluster"
    link.symlink_to(repository / "bin" / "gridcluster")
    path = f"{Path(sys.executable).parent}:{grid.environ['PATH']}"
    for launcher in (repository / "bin" / "gridclusters", link):
        done = subprocess.run([launcher], env=grid.environ | {"PATH": path}, capture_output=True, text=True, timeout=30)
        assert done.stdout == "1: tiger\n2: lion\n", done.stderr
