"""gridadmin maintenance on a grid whose users go on looking at what it archives."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from cigri.admin.gridadmin import gridadmin

# Of 6,000 tasks each was tried once, each seventh a second time; they ended 40 days ago.
FILL = """
    INSERT INTO submissions (name, campaign_id, cluster_id, login, url_generation, size, remote_clock, state, sent_at,
                             settled_at, array_id)
        SELECT 'cigri.00000000.1.' || n, %(campaign)s, 1 + n %% 2, 'alice', 1, 100, 0, 'settled',
               now() - interval '41 days', now() - interval '41 days', 1000 + n
        FROM generate_series(0, 68) n;
    INSERT INTO events (class, code, campaign_id, cluster_id, job_id, alike, message, notified_at, notified_count,
                        state, date_open, date_last, date_closed)
        SELECT 'job', k.code, %(campaign)s, 1, n, n, 'what ' || n, now(), 1, k.state::event_state,
               now() - interval '41 days', now() - interval '41 days', k.closed
        FROM generate_series(1, 3) n, (VALUES ('EXIT_ERROR', 'open', NULL),
            ('CIGRI_WALLTIME', 'closed', now() - interval '41 days')) AS k(code, state, closed);
    UPDATE events SET notified_at = now(), notified_count = count, state = 'closed',
                      date_closed = now() - interval '41 days' WHERE code IN ('NEW_CAMPAIGN');
    INSERT INTO jobs (task_id, campaign_id, cluster_id, submission_id, state, remote_id, chain, array_index, created_at,
                      start_time, stop_time, exit_code, outcome, node_name, resources_used, stdout_path, stderr_path,
                      event_id, ended_at)
        SELECT t.id, t.campaign_id, 1 + s.id %% 2, s.id, 'event', 50000 + t.id, '{7}', t.id %% 100,
               now() - interval '41 days', now() - interval '41 days', now() - interval '41 days' + interval '9 s', 256,
               'exit', 'node' || t.id %% 5, 1, '/home/alice/o.%%jobid%%', '/home/alice/e.%%jobid%%', e.id,
               now() - interval '41 days'
        FROM tasks t JOIN submissions s ON s.array_id = 1000 + t.id / 100
            JOIN (SELECT min(id) AS id FROM events WHERE code = 'EXIT_ERROR') e ON true
        WHERE t.id %% 7 = 0;
    INSERT INTO jobs (task_id, campaign_id, cluster_id, submission_id, state, remote_id, array_index, created_at,
                      start_time, stop_time, exit_code, outcome, node_name, resources_used, stdout_path, ended_at)
        SELECT t.id, t.campaign_id, 1 + s.id %% 2, s.id, 'terminated', 90000 + t.id, t.id %% 100,
               now() - interval '40 days', now() - interval '40 days', now() - interval '40 days' + interval '5 s', 0,
               'success', 'node' || t.id %% 5, 1, '/home/alice/o.%%jobid%%', now() - interval '40 days'
        FROM tasks t JOIN submissions s ON s.array_id = 1000 + t.id / 100 WHERE t.id %% 100 <> 0;
    INSERT INTO jobs (task_id, campaign_id, cluster_id, submission_id, state, remote_id, created_at, exit_code, outcome,
                      event_id, ended_at)
        SELECT t.id, t.campaign_id, 1, s.id, 'event', 190000 + t.id, now() - interval '40 days', 256, 'exit', e.id,
               now() - interval '40 days'
        FROM tasks t JOIN submissions s ON s.array_id = 1000 + t.id / 100
            JOIN (SELECT max(id) AS id FROM events WHERE code = 'EXIT_ERROR') e ON true
        WHERE t.id %% 100 = 0;
    UPDATE tasks SET state = CASE WHEN id %% 100 = 0 THEN 'failed' ELSE 'done' END::task_state;
    UPDATE campaigns SET state = 'terminated', ended_at = now() - interval '40 days' WHERE id = %(campaign)s;
"""


@pytest.fixture
def campaign(grid: Any) -> str:
    key = str(grid.submit(*(f"name{number} --seed {number}" for number in range(1, 6001))))
    with psycopg.connect(grid.conninfo, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(FILL, {"campaign": int(key)})
    return key


@pytest.fixture
def maintain(grid: Any) -> Callable[..., str]:
    """gridadmin maintenance in this process; what it says."""

    def maintain(*arguments: str, status: int = 0) -> str:
        done = CliRunner().invoke(gridadmin, ["maintenance", *arguments], env=grid.environ)
        assert done.exit_code == status, done.output
        return done.output

    return maintain


def pages(client: Any, path: str) -> Iterator[Any]:
    """Everything of a list that links to its next page."""
    while path:
        answer = client.get(path)
        yield answer
        path = next((link["href"] for link in answer.get("links", ()) if link["rel"] == "next"), "")


def seen(grid: Any, campaign: str) -> dict[str, Any]:
    """All that the API and the commands show of a campaign."""
    client, path = grid.client, f"/campaigns/{campaign}"
    found = {what: list(pages(client, f"{path}{what}")) for what in ("/jobs?limit=1700", "/jobs/finished?limit=2500")}
    found |= {what: list(pages(client, f"{path}{what}")) for what in ("", "/jdl", "/stats", "/files?limit=2500")}
    found |= {what: client.get(f"{path}{what}") for what in ("/events", "/events?all=1")}
    tasks = [task for page in found["/jobs?limit=1700"] for task in page["items"]]
    assert len(tasks) == 6000
    some = tasks[:3] + tasks[696:704] + tasks[-3:]
    found |= {f"task {task['id']}": client.get(f"{path}/jobs/{task['id']}") for task in some}
    found |= {f"job {task['cigri_job_id']}": client.get(f"/jobs/{task['cigri_job_id']}") for task in some}
    found |= {f"event {one['id']}": client.get(f"/events/{one['id']}") for one in found["/events?all=1"]["items"]}
    for command, *options in (
        ("gridstat", campaign), ("gridstat", campaign, "-f", "-o", "5900"), ("gridstat", campaign, "-J"),
        ("gridstat", campaign, "-d"), ("gridevents", "-c", campaign), ("gridclean", campaign, "--dry-run"),
    ):  # fmt: skip
        done = grid.run(command, *options)
        assert done.returncode == 0, done.stderr
        found[f"{command} {options}"] = done.stdout
    return found


def test_what_was_visible_stays_visible(grid, campaign, maintain):
    before = seen(grid, campaign)
    assert "to archive" in maintain("--dry-run") and campaign in maintain("--dry-run")
    assert grid.sql("SELECT count(*) FROM tasks") == [(6000,)], "nothing was done"
    said = maintain()
    assert "1 campaigns archived" in said and "6000 tasks archived" in said and "6857 jobs archived" in said
    for table in ("tasks", "jobs", "submissions"):
        assert grid.sql(f"SELECT count(*) FROM {table}") == [(0,)]  # noqa: S608 - our own words
    after = seen(grid, campaign)
    assert after.keys() == before.keys()
    for what in before:
        assert after[what] == before[what], what
    assert maintain().startswith("maintenance: nothing to do")
    done = CliRunner().invoke(gridadmin, ["db", "check", "--archive"], env=grid.environ)
    assert done.exit_code == 0, done.output


def test_it_may_be_killed_at_any_moment(grid, campaign, maintain):
    before = seen(grid, campaign)
    code = "from cigri.admin.gridadmin import gridadmin; gridadmin(prog_name='gridadmin')"
    with psycopg.connect(grid.conninfo) as connection:
        # In the second batch: the first is committed, the second waits for this.
        connection.execute("SELECT FROM tasks WHERE line = 'name5501 --seed 5501' FOR UPDATE")
        with subprocess.Popen(
            [sys.executable, "-c", code, "maintenance"], env=grid.environ, stdout=subprocess.DEVNULL
        ) as process:
            try:
                wait_for(lambda: waits(grid), process)
                busy = maintain(status=1)
                assert "another maintenance is at work" in busy
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait(60)
    wait_for(lambda: not at_work(grid))
    assert grid.sql("SELECT archived_tasks FROM campaigns") == [(5000,)]
    half = seen(grid, campaign)
    for what in before:
        assert half[what] == before[what], what
    wait_for(
        lambda: "another maintenance" not in CliRunner().invoke(gridadmin, ["maintenance"], env=grid.environ).output
    )
    assert grid.sql("SELECT archived_tasks, archived_at IS NOT NULL FROM campaigns") == [(6000, True)]


AT_WORK = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'gridadmin' AND datname = current_database()"


def at_work(grid: Any) -> bool:
    """Whether a session of a gridadmin is left."""
    return bool(grid.sql(AT_WORK))


def waits(grid: Any) -> bool:
    """Whether a gridadmin waits for a lock."""
    return bool(grid.sql(f"{AT_WORK} AND wait_event_type = 'Lock'"))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, "it has ended"
        time.sleep(0.05)


def test_its_owner_runs_failed_tasks_again_and_adds_to_it(grid, campaign, maintain):
    maintain()
    done = grid.run("gridevents", "-c", campaign, "-f", "-r")
    assert done.returncode == 0 and "to be run again" in done.stdout + done.stderr
    found = grid.client.get(f"/campaigns/{campaign}")
    assert found["state"] == "in_treatment"
    assert found["tasks"] == {"pending": 60, "active": 0, "done": 5940, "failed": 0, "cancelled": 0}
    task = grid.client.get(f"/campaigns/{campaign}/jobs/700")
    assert task["state"] == "pending" and len(task["execution"]) == 2, "its tries are remembered"
    grid.client.post(f"/campaigns/{campaign}/jobs", ["one more"])
    found = grid.client.get(f"/campaigns/{campaign}")
    assert found["total_jobs"] == 6001 and found["tasks"]["pending"] == 61
    assert len(grid.client.get(f"/campaigns/{campaign}/jdl")["params"]) == 6001
    assert maintain().startswith("maintenance: nothing to do")
    done = CliRunner().invoke(gridadmin, ["db", "check", "--archive"], env=grid.environ)
    assert done.exit_code == 0, done.output


def test_its_help_says_what_it_does(maintain, repository: Path):
    assert "ARCHIVE_AFTER" in maintain("--help")
    assert "gridadmin maintenance" in (repository / "etc/cron.d/cigri").read_text()
