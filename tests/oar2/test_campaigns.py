"""Campaigns end to end on real OAR 2.5 clusters: the tasks, the grid and both clusters tell the same story."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from cigri.core import shell
from tests.oar2.conftest import ALICE, BOB, marks

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
BOTH: dict[str, Any] = {"tiger": {}, "lion": {}}

pytestmark = pytest.mark.timeout(900)  # the first one also sets everything up


def test_gridadmin_tries_a_cluster_with_a_job(whole) -> None:
    said = whole.command("gridadmin", "cluster", "test", "tiger", "--user", ALICE, "--submit")
    assert "4" in said and "free" in said, said


def test_a_campaign_with_prologue_and_epilogue_on_both_clusters(whole) -> None:
    home = whole.home("stages")
    stages = {stage: [f"echo {stage} >>{home}/order"] for stage in ("prologue", "epilogue")}
    names = [f"task{number} 0.5" for number in range(10)]
    campaign = whole.submit(home, names, BOTH, exec_file="echo task >>order; ./task", **stages)
    whole.wait_end(campaign)
    assert whole.tasks(campaign) == {"done": 10}, whole.story()
    used = {name for name, _ in whole.ledger(campaign)}
    assert used == set(BOTH)
    order = (home / "order").read_text().split()
    assert (order[0], order[-1]) == ("prologue", "epilogue")
    assert (order.count("prologue"), order.count("task"), order.count("epilogue")) == (2, 10, 2)
    query = "SELECT count(*) FROM jobs WHERE campaign_id = %s AND kind <> 'task' AND state = 'terminated'"
    assert whole.value(query, campaign) == 4
    whole.balance(campaign)


ODD = [
    "a 'b  c' \"d  e\"",
    "$HOME ${USER} $(id -un) `id -un` $OAR_JOB_ID",
    'back\\\\slash \\$HOME \'sin\\gle\' "q\\"q"',
    "accents é à œ €",
    "# in front, and # inside",
    "-n --help -",
    "semi; echo second; echo third | tr a-z A-Z",
    "end\\ ",
    "~ [!a] {x,y} !",
    "tab\there",
    "%s %jobid% & wait; echo foreground",
    "'it'\\''s'",
    "x > redirected; cat redirected",
]


def test_whatever_characters_a_line_has_its_task_is_what_bash_makes_of_it(whole) -> None:
    home = whole.home("odd")
    good = [line for line in ODD if shell.check_line(line) is None]
    assert len(good) >= len(ODD) - 1
    campaign = whole.submit(home, good, BOTH, exec_file="printf '<%s>\\n'")
    whole.wait_end(campaign)
    assert whole.tasks(campaign) == {"done": len(good)}, whole.story()
    rows = whole.rows(
        "SELECT t.line, j.id, j.remote_id FROM jobs j JOIN tasks t ON t.id = j.task_id WHERE j.campaign_id = %s",
        campaign,
    )
    for line, job, remote in rows:
        said = whole.command("gridstat", "-j", str(job), "-O")
        expected = subprocess.run(
            ["runuser", "-u", ALICE, "--", "bash", "-c", shell.script("printf '<%s>\\n'", line)],
            env={"HOME": f"/home/{ALICE}", "USER": ALICE, "OAR_JOB_ID": str(remote), "LANG": "C.UTF-8", "PATH": PATH},
            cwd=home,
            capture_output=True,
            text=True,
        )
        assert expected.returncode == 0, line
        assert said == expected.stdout, line
    whole.balance(campaign)


def test_a_normal_job_preempts_and_what_it_preempted_runs_again(whole) -> None:
    home = whole.home("preempted")
    campaign = whole.submit(home, [f"task{number} hold" for number in range(4)], {"tiger": {}})
    whole.wait(lambda: len(marks(home, "started")) >= 2)
    whole.oars["tiger"].run("oarsub", "-d", f"/home/{BOB}", "-l", "/core=4,walltime=0:1:0", "sleep 1", user=BOB)
    preempted = "SELECT count(*) FROM jobs WHERE campaign_id = %s AND outcome = 'preempted'"
    whole.wait(lambda: whole.value(preempted, campaign) >= 2)
    (home / "go").touch()
    whole.wait_end(campaign)
    assert whole.tasks(campaign) == {"done": 4}, whole.story()
    assert whole.value("SELECT max(tries) FROM tasks WHERE campaign_id = %s", campaign) == 0
    whole.balance(campaign, home)


def test_every_other_end_is_told_for_what_it_is(whole) -> None:
    home = whole.home("ends")
    params = ["good", "three 0 3", "killed; kill -9 $$", "over 600", "none; exec ./no-such-program"]
    campaign = whole.submit(home, params, {"tiger": {}}, walltime="0:0:10")
    failed = "SELECT count(*) FROM tasks WHERE campaign_id = %s AND state IN ('done', 'failed')"
    whole.wait(lambda: whole.value(failed, campaign) == 5)
    ends = whole.rows(
        """SELECT split_part(t.line, ' ', 1), t.state::text, j.exit_code, j.outcome, count(*) FROM jobs j
           JOIN tasks t ON t.id = j.task_id WHERE j.campaign_id = %s GROUP BY 1, 2, 3, 4""",
        campaign,
    )
    assert sorted(ends, key=str) == [
        ("good", "done", 0, "success", 1),
        ("killed;", "failed", 9, "exit", 1),
        ("none;", "failed", 127 << 8, "exit", 1),
        ("over", "failed", None, "walltime", 3),
        ("three", "failed", 3 << 8, "exit", 1),
    ]
    told = whole.command("gridevents", "-c", str(campaign))
    assert "SIGKILL" in told and "exit code 3" in told and "walltime" in told and "no-such-program" in told, told
    whole.wait_end(campaign)
    whole.balance(campaign)


def test_a_directory_that_is_not_there_and_what_its_user_deletes(whole) -> None:
    home = whole.home("gone")
    nowhere = whole.submit(home, ["x"], {"tiger": {"exec_directory": f"{home}/nowhere"}})
    deleted = whole.submit(home, ["task 300"], {"tiger": {}})
    whole.wait(lambda: marks(home, "started"))
    remote = whole.value("SELECT remote_id FROM jobs WHERE campaign_id = %s", deleted)
    whole.oars["tiger"].run("oardel", str(remote), user=ALICE)
    for campaign, code in ((nowhere, "WORKING_DIRECTORY_ERROR"), (deleted, "USER_FRAG")):
        whole.wait(lambda campaign=campaign, code=code: code in whole.events(campaign))
        assert whole.tasks(campaign) == {"failed": 1}
        whole.wait_end(campaign)
        whole.balance(campaign)


def test_a_cancelled_campaign_leaves_nothing_on_the_clusters(whole) -> None:
    home = whole.home("cancelled")
    campaign = whole.submit(home, [f"task{number} 200" for number in range(30)], BOTH)
    whole.wait(lambda: len(marks(home, "started")) >= 3)
    whole.command("griddel", str(campaign))
    whole.wait_end(campaign)
    assert whole.tasks(campaign) == {"cancelled": 30}
    whole.balance(campaign, home)
    said = "".join(oar.run("oarstat", "-u", ALICE) for oar in whole.oars.values())
    assert "cigri" not in said


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"resources": "/core=99"}, "not enough resources"),
        ({"resources": "/core=abc"}, "Cannot recognize"),
        ({"resources": "/nosuchlevel=1"}, "nosuchlevel"),
        ({"properties": "nosuch='x'"}, "nosuch"),
        ({"cluster_job_type": "nosuchtype"}, "unknown job type"),
    ],
)
def test_what_oar_refuses_is_told_and_looked_up_by_nobody(whole, settings, told) -> None:
    campaign = whole.submit(whole.home("refused"), ["a", "b"], {"lion": settings})
    whole.wait(lambda: any(told in message for message in whole.events(campaign).values()), 60)
    states = whole.rows("SELECT DISTINCT state::text FROM submissions WHERE campaign_id = %s", campaign)
    assert states == [("refused",)], whole.story()
    assert whole.ledger(campaign) == {}


def test_restarts_of_oars_server_and_of_its_database_in_mid_campaign(whole) -> None:
    home = whole.home("restarts")
    campaign = whole.submit(home, [f"task{number} 1" for number in range(30)], BOTH)
    done = "SELECT done FROM campaign_progress WHERE campaign_id = %s"
    for at_least, name, part in ((3, "tiger", "server"), (8, "tiger", "database"), (11, "lion", "database")):
        whole.wait(lambda at_least=at_least: whole.value(done, campaign) >= at_least)
        whole.oars[name].restart(part)
    whole.wait(lambda: whole.value(done, campaign) >= 14)
    whole.oars["lion"].stop_server()  # submissions are still taken, and answered with 500
    whole.oars["tiger"].stop_database()
    seen = whole.value("SELECT count(*) FROM events WHERE cluster_id IS NOT NULL")
    whole.wait(lambda: whole.value("SELECT count(*) FROM events WHERE cluster_id IS NOT NULL") > seen, 120)
    whole.oars["lion"].start_server()
    whole.oars["tiger"].start_database()
    living = "SELECT clusters.name, remote_id FROM jobs JOIN clusters ON clusters.id = cluster_id"
    living += " WHERE campaign_id = %s AND ended_at IS NULL"

    def all_that_are_left_are_forgotten() -> bool:
        there = set(whole.rows(living, campaign))
        return bool(there) and there <= whole.forgotten() and not whole.tasks(campaign)["pending"]

    whole.wait(lambda: whole.ended(campaign) or all_that_are_left_are_forgotten())
    if left := len(whole.rows(living, campaign)):
        # This OAR starts them no more. The grid deletes them when they have waited for REMOTE_WAITING_TIMEOUT.
        assert whole.tasks(campaign) == {"done": 30 - left, "active": left}, whole.story()
        return
    assert whole.tasks(campaign) == {"done": 30}, whole.story()
    whole.balance(campaign, home)
