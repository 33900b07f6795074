"""gridevents: the original's output when piped, closing, following; gridstat --watch on a terminal."""

from __future__ import annotations

import json
import re
import signal

import pytest

RULE = "-" * 78 + "\n"


@pytest.fixture
def failing(grid):
    """A campaign with an event that stands for 10,000 failures, which keeps it away from tiger."""
    key = grid.submit("one", "two")
    grid.sql("UPDATE tasks SET state = 'active' WHERE line = 'one'")
    grid.sql("UPDATE tasks SET state = 'failed' WHERE line = 'one'")
    grid.sql(
        "INSERT INTO events (class, code, campaign_id, cluster_id, job_id, last_job_id, count, message, parent)"
        " VALUES ('job', 'EXIT_ERROR', %s, 1, 7, 10006, 10000, 'exit code 1', NULL),"
        " ('campaign', 'BLACKLIST', %s, 1, NULL, NULL, 1, '', 2)", key, key,
    )  # fmt: skip
    grid.sql(
        "INSERT INTO jobs (task_id, campaign_id, cluster_id, state, ended_at, event_id)"
        " SELECT id, campaign_id, 1, 'event', now(), 2 FROM tasks WHERE line = 'one'"
    )
    return key


def test_events_as_the_original_prints_them(grid, failing):
    """C4: ten thousand alike failures are one event; a blacklist says what it waits for."""
    first, second = grid.client.get(f"/campaigns/{failing}/events")["items"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", first["date_open"])
    waits = "its owner has to close it: gridevents -e 2 -f (with -r its tasks are tried again)"
    shown = (
        f"{RULE}2: (open) EXIT_ERROR of job 7 at {first['date_open']} on tiger\nexit code 1\n"
        f"10000 times, jobs 7 to 10006, last at {first['date_last']}\n"
        f"{RULE}3: (open) BLACKLIST at {second['date_open']} on tiger because of 2\nWaiting: {waits}\n{RULE}"
    )
    for arguments in ((failing,), ("-c", failing)):
        assert grid.run("gridevents", *arguments).stdout == shown
    assert grid.run("gridevents", "-e", "2", "-v").stdout.endswith(f"\nWaiting: {waits}\n{RULE}")
    assert grid.run("gridevents", "-g").stdout == "No events!\n"
    assert "1: (closed) NEW_CAMPAIGN" in grid.run("gridevents", "-a", failing).stdout
    assert json.loads(grid.run("gridevents", "-d", "-p", "-e", "2").stdout) == grid.client.get("/events/2")
    assert json.loads(grid.run("gridevents", "-d", failing).stdout)["total"] == 2


def test_closing(grid, failing):
    """C4: each command says in a line what it did."""
    done = grid.run("gridevents", "-f", "-r", failing)
    assert (done.returncode, done.stdout) == (0, f"Campaign {failing} events closed: 1, 1 task to be run again.\n")
    assert grid.sql("SELECT count(*) FROM tasks WHERE state = 'pending'") == [(2,)]
    assert grid.run("gridevents", "-f", "-e", "2").stdout == "Event 2 was closed already.\n"
    done = grid.run("gridevents", "-f", "-e", "99")
    assert (done.returncode, done.stderr) == (1, "Error: There is no event 99\n")


def test_administrators_make_events(grid, failing):
    """C4: --blacklist-cluster and --mark-job-event."""
    done = grid.run("gridevents", "--blacklist-cluster", "1")
    assert done.stdout.startswith("New event created: cluster tiger gets no new jobs until event ")
    assert "BLACKLISTED" in grid.run("gridclusters", "-i").stdout
    assert "Cluster 1 disabled by the administrator" in grid.run("gridevents", "--global").stdout
    done = grid.run("gridevents", "--mark-job-event", "1")
    assert done.returncode == 1 and "there is nothing to set aside" in done.stderr


def test_wrong_usage(grid):
    cases = [
        (), ("-r", "1"), ("-f", "-g"), ("-f",), ("-g", "1"), ("1", "-c", "2"), ("-e", "1", "--follow"), ("-a", "-g"),
        ("-e", "x"), ("--blacklist-cluster", "1", "2"),
    ]  # fmt: skip
    for arguments in cases:
        done = grid.run("gridevents", *arguments)
        assert (done.returncode, done.stdout) == (2, "") and "Usage: gridevents" in done.stderr, arguments


def test_new_events_are_printed_as_they_come(grid, failing):
    """C4: --follow, until Ctrl-C."""
    process = grid.start("gridevents", "--follow", "-d", failing)
    assert process.stdout is not None
    assert [json.loads(process.stdout.readline())["id"] for _ in range(2)] == [2, 3]
    grid.sql("INSERT INTO events (class, code, campaign_id, message) VALUES ('job', 'JOB_LOST', %s, 'gone')", failing)
    assert json.loads(process.stdout.readline())["code"] == "JOB_LOST"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "" and process.returncode == 130


def test_watching(grid, failing):
    """C2: --watch draws again and again, on terminals only."""
    shown, code = grid.on_terminal("gridstat", "--watch", until="\033[H\033[2J\033[H\033[2J"[:7])
    assert code == 130
    grid.client.delete(f"/campaigns/{failing}")
    shown, code = grid.on_terminal("gridstat", "--watch", failing, until="never")
    assert code == 0 and "cancelled" in shown
    for arguments in (("--watch",), ("--watch", "-d")):
        done = grid.run("gridstat", *arguments)
        assert done.returncode == 2 and "--watch" in done.stderr
