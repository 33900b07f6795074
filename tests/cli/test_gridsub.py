"""gridsub as users and their scripts know it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pytest

JDL = {"name": "test", "clusters": {"tiger": {"exec_file": "run", "walltime": "0:30"}}}


def jdl(**more):
    return json.dumps(JDL | more)


def submitted(done):
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"Campaign successfully submitted\nCAMPAIGN_ID=(\d+)\n", done.stdout)
    assert found, done.stdout
    return found[1]


def params(grid, key):
    return grid.client.get(f"/campaigns/{key}/jdl")["params"]


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content)
        return str(path)

    return write


def test_a_campaign_from_a_file_from_json_and_from_standard_input(grid, file):
    """C1."""
    text = '{"Name": "x", // a comment\n "clusters": {"tiger": {"exec_file": "\\$HOME/run"}}, "nb_jobs": 2}'
    path = file("jdl", text)
    for arguments, stdin in ((["-f", path], ""), ([path], ""), (["-f", "-"], text), (["-"], text)):
        assert params(grid, submitted(grid.run("gridsub", *arguments, stdin=stdin))) == ["0", "1"]
    done = grid.run("gridsub", "-j", jdl(params=["a 1", "é #2", 3]))
    assert params(grid, submitted(done)) == ["a 1", "é #2", "3"]
    assert done.stderr == "Walltime on tiger: 0:30:00\n"


def test_a_param_file_is_read_by_the_user(grid, file, tmp_path):
    """J5."""
    path = file("params", '  a 1 \nb "2 3"\né\n\n#c\n')
    for written in (path, "~/params", "$WHERE/params", "{HOME}/params"):
        done = grid.run("gridsub", "-j", jdl(param_file=written), HOME=str(tmp_path), WHERE=str(tmp_path))
        assert params(grid, submitted(done)) == ["a 1", 'b "2 3"', "é", "#c"]


def test_several_campaigns_and_one_that_is_refused(grid):
    done = grid.run("gridsub", "-j", jdl(nb_jobs=1), "-j", "{", "-j", jdl(nb_jobs=2))
    assert done.returncode == 1 and done.stdout.count("CAMPAIGN_ID=") == 2
    assert "Error: --json: line 1" in done.stderr
    assert grid.client.get("/campaigns")["total"] == 2


def test_all_faults_of_server_and_file_at_once(grid, file):
    path = file("params", "good\nit's\nfine\n\"open\n")
    done = grid.run("gridsub", "-j", json.dumps({"nam": "x", "clusters": {"tigre": {}}, "param_file": path}))
    assert done.returncode == 1 and done.stdout == ""
    for words in ("line 2: has a '", 'line 4: has a "', 'did you mean "name"', "exec_file: is missing"):
        assert words in done.stderr
    done = grid.run("gridsub", "-j", json.dumps({"name": "x", "clusters": {"tigre": {"exec_file": "x"}}, "nb_jobs": 1}))
    assert done.returncode == 1 and "lion, tiger" in done.stderr
    done = grid.run("gridsub", "-j", jdl(nb_jobs=1, params=["a"]))
    assert done.returncode == 1 and "one source" in done.stderr
    done = grid.run("gridsub", "-j", jdl(param_file="/no/such/file"))
    assert done.returncode == 1 and "No such file" in done.stderr
    assert grid.client.get("/campaigns")["total"] == 0


def test_files_that_cannot_be_read(grid, file):
    done = grid.run("gridsub", "-f", "/no/such/file", "-j", jdl(nb_jobs=1))
    assert done.returncode == 1 and done.stderr.startswith("Error: /no/such/file: cannot be read: No such file")
    assert done.stdout.endswith("CAMPAIGN_ID=1\n")
    assert "not UTF-8" in grid.run("gridsub", "-", stdin=b"\xff").stderr


def test_tasks_are_added(grid, file):
    """C1."""
    key = grid.submit("a")
    done = grid.run("gridsub", "-c", key, "-J", '["b", 2]', "-F", file("jobs", '["c"]'))
    assert (done.returncode, done.stdout) == (0, f"Jobs successfully added to campaign {key}\n" * 2)
    assert sorted(params(grid, key)) == ["2", "a", "b", "c"]
    done = grid.run("gridsub", "-c", key, "-J", '["\'"]')
    assert done.returncode == 1 and "params[0]: has a '" in done.stderr
    done = grid.run("gridsub", "-c", "99", "-J", '["a"]')
    assert done.returncode == 1 and "no campaign 99" in done.stderr


def test_details(grid):
    done = grid.run("gridsub", "-d", "-j", jdl(nb_jobs=1))
    first, middle, last = done.stdout.splitlines()
    assert (first, last) == ("Campaign successfully submitted", f"CAMPAIGN_ID={json.loads(middle)['id']}")


def test_a_dry_run(grid):
    done = grid.run("gridsub", "--dry-run", "-j", jdl(nb_jobs=3))
    assert (done.returncode, done.stdout) == (0, "Campaign test is good: 3 tasks. Nothing was stored.\n")
    assert "Walltime on tiger: 0:30:00" in done.stderr
    assert grid.run("gridsub", "--dry-run", "-j", jdl(params=["'"])).returncode == 1
    assert grid.client.get("/campaigns")["total"] == 0


def test_wrong_usage_is_2_and_says_what_to_type(grid):
    cases = [
        ((), "gridsub -f FILE"),
        (("-J", "[]"), "say which with -c"),
        (("-c", "1"), "-F FILE or -J JSON"),
        (("-c", "x", "-J", "[]"), "whole number"),
        (("--toto",), "--toto"),
        (("--wait", "--dry-run", "-j", "{}"), "--wait"),
    ]
    for arguments, words in cases:
        done = grid.run("gridsub", *arguments)
        assert done.returncode == 2 and words in done.stderr and done.stdout == "", arguments


def test_an_api_that_is_not_there(grid, file):
    config = file("clients.conf", 'API_SOCKET = "/no/where"\n')
    done = grid.run("gridsub", "-j", jdl(nb_jobs=1), CIGRICLIENTCONFFILE=config)
    assert done.returncode == 1 and done.stdout == ""
    assert "no API server at /no/where: No such file" in done.stderr and "env.sh" in done.stderr


def ends(grid, key, **tasks):
    """What the daemons would make of a campaign."""
    for state, count in tasks.items():
        which = "SELECT id FROM tasks WHERE campaign_id = %s AND state = 'pending' LIMIT %s"
        grid.sql(f"UPDATE tasks SET state = '{state}' WHERE id IN ({which})", key, count)  # noqa: S608
    grid.sql("UPDATE campaigns SET state = 'terminated', ended_at = now() WHERE id = %s", key)


@pytest.mark.parametrize(
    ("tasks", "code", "words"),
    [
        ({"done": 3}, 0, "all 3 tasks succeeded"),
        ({"done": 2, "failed": 1}, 3, "1 task failed: gridstat -c"),
        (None, 4, "was cancelled"),
    ],
)
def test_waiting_for_the_end(grid, tasks, code, words):
    process = grid.start("gridsub", "--wait", "-j", jdl(nb_jobs=3))
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    key = lines[1].strip().removeprefix("CAMPAIGN_ID=")
    time.sleep(0.7)
    assert process.poll() is None
    if tasks is None:
        grid.client.delete(f"/campaigns/{key}")
    else:
        ends(grid, key, **tasks)
    _, told = process.communicate(timeout=20)
    assert process.returncode == code and words in told
    assert f"Progress: {(tasks or {}).get('done', 0)}/3 (" in told


def test_an_interrupted_wait_is_quiet_and_ends_nothing(grid):
    process = grid.start("gridsub", "--wait", "-j", jdl(nb_jobs=3))
    assert process.stdout is not None
    process.stdout.readline(), process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in told and "griddel 1" in told
    assert grid.client.get("/campaigns/1")["state"] == "in_treatment"


def test_a_file_that_changes_under_it_leaves_nothing(grid, tmp_path):
    """The last line is bad: all that was sent before it is forgotten."""
    path = tmp_path / "params"
    path.write_text("".join(f"{number}\n" for number in range(50_000)) + "'\n")
    done = grid.run("gridsub", "-j", jdl(param_file=str(path)))
    assert done.returncode == 1 and "line 50001" in done.stderr
    time.sleep(0.2)
    assert grid.client.get("/campaigns")["total"] == 0 and grid.sql("SELECT count(*) FROM tasks") == [(0,)]


def test_start_up_is_light():
    """No server module, and nothing for terminals, is imported."""
    heavy = ("sqlalchemy", "fastapi", "pydantic", "rich", "requests", "psycopg")
    commands = "gridsub, gridstat, griddel, gridclusters"
    code = f"from cigri.cli import {commands}; import sys; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
