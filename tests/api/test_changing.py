"""Who may change what, and what becomes of it."""

from __future__ import annotations

import json
import threading

import pytest
from sqlalchemy import insert, select, text, update

from cigri.core.states import JobState, TaskState
from cigri.db.engine import transaction
from cigri.db.tables import Campaign, Job, Submission, Task


@pytest.fixture
def run(engine):
    """Make jobs of a campaign's first tasks, in these states."""

    def make(campaign_id, cluster_id, *states):
        with transaction(engine) as session:
            values = {"name": f"s{campaign_id}", "campaign_id": campaign_id, "cluster_id": cluster_id, "login": "alice"}
            values |= {"url_generation": 1, "size": 9, "remote_clock": 0, "state": "settled"}
            statement = insert(Submission).values(**values, settled_at=text("now()")).returning(Submission.id)
            submission = session.scalar(statement)
            tasks = session.scalars(select(Task.id).where(Task.campaign_id == campaign_id).order_by(Task.id)).all()
            jobs = []
            for number, (task_id, state) in enumerate(zip(tasks, states, strict=False), 100):
                ended = state in (JobState.TERMINATED, JobState.EVENT)
                row = {"task_id": task_id, "campaign_id": campaign_id, "cluster_id": cluster_id, "state": state}
                row |= {"submission_id": submission, "remote_id": number}
                row |= {"ended_at": text("now()"), "exit_code": 0 if state == "terminated" else 256} if ended else {}
                row |= {"outcome": "success"} if state == "terminated" else {}
                jobs.append(session.scalar(insert(Job).values(row).returning(Job.id)))
                becomes = {"terminated": TaskState.DONE, "event": TaskState.FAILED}.get(state, TaskState.ACTIVE)
                session.execute(update(Task).where(Task.id == task_id).values(state=becomes))
        return jobs

    return make


def state(api, key):
    return api.get(f"/campaigns/{key}")["state"]


def test_pause_and_resume(api):
    """R12."""
    key = api.submit("a")
    answer = api.ask("DELETE", f"/campaigns/{key}?hold=1")
    assert (answer.status, answer.json()["message"]) == (202, f"Campaign {key} paused")
    assert state(api, key) == "paused"
    assert api.ask("DELETE", f"/campaigns/{key}?hold").status == 400
    answer = api.ask("DELETE", f"/campaigns/{key}?resume")
    assert answer.json()["message"] == f"Campaign {key} resumed" and state(api, key) == "in_treatment"
    answer = api.ask("DELETE", f"/campaigns/{key}?resume")
    assert answer.status == 400 and "in_treatment" in answer.json()["message"]


def test_cancelling_drops_what_waits_and_marks_what_runs(api, clusters, engine, run):
    key = api.submit("a", "b", "c", "d")
    done, running, sent = run(key, clusters["tiger"], "terminated", "running", "launching")
    assert api.ask("DELETE", f"/campaigns/{key}").status == 202
    found = api.get(f"/campaigns/{key}")
    assert found["state"] == "cancelled"
    assert found["tasks"] == {"pending": 0, "active": 2, "done": 1, "failed": 0, "cancelled": 1}
    with transaction(engine) as session:
        reasons = {job.id: job.kill_reason for job in session.scalars(select(Job))}
        assert session.get_one(Campaign, key).ended_at is not None
    assert reasons == {done: None, running: "cancelled", sent: "cancelled"}
    answer = api.ask("DELETE", f"/campaigns/{key}")
    assert answer.status == 400 and "cancelled" in answer.json()["message"]
    assert api.ask("DELETE", f"/campaigns/{key}?resume").status == 400
    answer = api.ask("POST", f"/campaigns/{key}/jobs", ["e"])
    assert answer.status == 409 and answer.json()["title"] == "Conflict"


def test_a_terminated_campaign_runs_again_when_tasks_are_added(api, engine):
    """R17."""
    key = api.submit("a")
    with transaction(engine) as session:
        session.execute(update(Task).values(state=TaskState.DONE))
        session.execute(update(Campaign).values(state="terminated", ended_at=text("now()")))
    assert api.ask("DELETE", f"/campaigns/{key}").status == 400
    assert api.ask("POST", f"/campaigns/{key}/jobs", []).json()["state"] == "terminated"
    added = api.ask("POST", f"/campaigns/{key}/jobs", ["b"]).json()
    assert (added["state"], added["total_jobs"], added["finished_jobs"]) == ("in_treatment", 2, 1)


def test_put_changes_name_and_state(api):
    """R11."""
    key = api.submit("a")
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    answer = api.ask("PUT", f"/campaigns/{key}", "name=toto+1&state=paused", **form)
    assert (answer.status, answer.json()["name"], answer.json()["state"]) == (202, "toto 1", "paused")
    answer = api.ask("PUT", f"/campaigns/{key}?state=paused&name=x")
    assert (answer.status, answer.json()["name"], answer.json()["state"]) == (202, "x", "paused")
    assert api.ask("PUT", f"/campaigns/{key}", {"state": "in_treatment"}).json()["state"] == "in_treatment"
    for bad in ("state=cancelled", "state=toto", "name="):
        assert api.ask("PUT", f"/campaigns/{key}?{bad}").status == 400
    assert (api.get(f"/campaigns/{key}")["name"], state(api, key)) == ("x", "in_treatment")


def test_only_owner_and_administrators_change(api, clusters, run):
    """R23."""
    key = api.submit("a", "b")
    (job, _) = run(key, clusters["tiger"], "running", "running")
    requests = [
        ("DELETE", f"/campaigns/{key}", None),
        ("DELETE", f"/campaigns/{key}?hold", None),
        ("PUT", f"/campaigns/{key}?name=x", None),
        ("POST", f"/campaigns/{key}/jobs", ["c"]),
        ("DELETE", f"/jobs/{job}", None),
        ("GET", f"/jobs/{job}/stdout", None),
    ]
    for method, path, body in requests:
        for user in ("bob", "null", ""):
            answer = api.ask(method, path, body, user=user)
            assert answer.status == 403 and answer.json()["title"] == "Forbidden", (method, path, user)
    assert "belongs to alice" in api.ask("DELETE", f"/campaigns/{key}", user="bob").json()["message"]
    assert state(api, key) == "in_treatment" and api.get(f"/campaigns/{key}")["total_jobs"] == 2
    for user in ("boss", "root"):
        assert api.ask("POST", f"/campaigns/{key}/jobs", ["c"], user=user).status == 201
    assert api.get(f"/campaigns/{key}")["user"] == "alice"


def test_changes_of_what_is_not_there(api):
    for method, path in (
        ("DELETE", "/campaigns/9"),
        ("PUT", "/campaigns/9"),
        ("POST", "/campaigns/9/jobs"),
        ("DELETE", "/jobs/9"),
    ):
        assert api.ask(method, path, "[]").status == 404


def test_cancelling_twice_at_once_cancels_once(api):
    key = api.submit(*map(str, range(2000)))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(api.ask("DELETE", f"/campaigns/{key}").status)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [202, 400, 400, 400]
    assert api.get(f"/campaigns/{key}")["tasks"]["cancelled"] == 2000


def test_adding_while_cancelling_leaves_no_task_behind(api):
    for _ in range(5):
        key = api.submit(*map(str, range(500)))
        adding = threading.Thread(target=lambda key=key: api.ask("POST", f"/campaigns/{key}/jobs", ["x"] * 500))
        adding.start()
        assert api.ask("DELETE", f"/campaigns/{key}").status == 202
        adding.join()
        found = api.get(f"/campaigns/{key}")
        assert (found["state"], found["tasks"]["pending"]) == ("cancelled", 0)
        assert found["tasks"]["cancelled"] == found["total_jobs"]


def test_a_job_is_marked_and_ended_by_the_daemons(api, clusters, engine, run):
    """R20."""
    key = api.submit("a", "b")
    running, ended = run(key, clusters["tiger"], "running", "event")
    answer = api.ask("DELETE", f"/jobs/{running}")
    assert (answer.status, answer.json()["message"]) == (202, f"Job {running} cancel event created")
    assert api.ask("DELETE", f"/jobs/{running}").status == 202
    answer = api.ask("DELETE", f"/jobs/{ended}")
    assert answer.status == 400 and "ended already" in answer.json()["message"]
    with transaction(engine) as session:
        assert session.get_one(Job, running).kill_reason == "user"
    assert api.get(f"/jobs/{running}")["state"] == "running"


def test_tasks_with_their_newest_tries(api, clusters, engine, run):
    """R15, R16."""
    key = api.submit("one 1", "two 2", "three 3", "four 4")
    jobs = run(key, clusters["tiger"], "terminated", "running", "event")
    page = api.get(f"/campaigns/{key}/jobs")
    assert (page["total"], page["offset"], page["limit"]) == (4, 0, 100)
    told = [(one["name"], one["state"], one["cluster"], one["cigri_job_id"], one["remote_id"]) for one in page["items"]]
    assert told == [
        ("one", "terminated", "tiger", jobs[0], 100),
        ("two", "running", "tiger", jobs[1], 101),
        ("three", "event", "tiger", jobs[2], 102),
        ("four", "pending", None, None, None),
    ]
    task = page["items"][2]
    assert task["href"] == f"/campaigns/{key}/jobs/{task['id']}"
    alone = api.get(task["href"])
    assert (alone["parameters"], alone["state"]) == ("three 3", "event")
    (execution,) = alone["execution"]
    assert execution == {
        "id": jobs[2], "cluster_id": clusters["tiger"], "cluster_name": "tiger", "state": "event", "return_code": 256,
        "remote_id": 102,
    }  # fmt: skip
    finished = api.get(f"/campaigns/{key}/jobs/finished")["items"]
    assert [(job["id"], job["state"]) for job in finished] == [(jobs[0], "terminated"), (jobs[2], "event")]
    use = api.get(f"/campaigns/{key}")["clusters"][str(clusters["tiger"])]
    assert (use["active_jobs"], use["queued_jobs"]) == (1, 0)


def test_a_job_with_all_that_is_known(api, clusters, run):
    """R18."""
    key = api.submit("one 1")
    (job,) = run(key, clusters["tiger"], "event")
    found = api.get(f"/jobs/{job}")
    expected = {
        "id": job, "param": "one 1", "grid_user": "alice", "campaign_id": key, "cluster_id": clusters["tiger"],
        "cluster_name": "tiger", "collect_id": None, "state": "event", "return_code": 256, "exit_status": "exit code 1",
        "remote_id": 100, "tag": None,
    }  # fmt: skip
    assert expected.items() <= found.items()
    others = ("param_id", "batch_id", "submission_time", "start_time", "stop_time", "node_name", "resources_used")
    assert {*others, "runner_options", "links"} <= found.keys()


@pytest.mark.parametrize(
    ("more", "best_effort"), [({}, True), ({"type": "normal"}, False), ({"test_mode": "true"}, False)]
)
def test_only_tasks_that_give_way_are_shown_as_best_effort(api, clusters, run, engine, more, best_effort):
    """R18."""
    key = api.submit("one 1", clusters={"tiger": {"exec_file": "run", **more}})
    (job,) = run(key, clusters["tiger"], "event")
    with transaction(engine) as session:
        session.execute(
            text(
                "INSERT INTO jobs (kind, campaign_id, cluster_id, state, ended_at)"
                " VALUES ('prologue', :key, :on, 'event', now())"
            ),
            {"key": key, "on": clusters["tiger"]},
        )
    shown = json.dumps({"besteffort": best_effort})
    assert api.get(f"/jobs/{job}")["runner_options"] == shown
    finished = api.get(f"/campaigns/{key}/jobs/finished")["items"]
    assert [one["runner_options"] for one in finished] == [shown, '{"besteffort": false}']


@pytest.mark.parametrize("gap", [False, True])
def test_pages_of_tasks(api, engine, gap):
    """R15."""
    first = api.submit(*(f"t{number}" for number in range(6)))
    if gap:  # ids that another campaign's tasks interrupt
        api.submit("other")
        api.ask("POST", f"/campaigns/{first}/jobs", ["t6"])
    total = 7 if gap else 6
    path, seen = f"/campaigns/{first}/jobs?limit=4", []
    for _ in range(2):
        page = api.get(path)
        seen += [task["name"] for task in page["items"]]
        path = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
        assert page["total"] == total
    assert path is None and seen == [f"t{number}" for number in range(total)]
    assert api.get(f"/campaigns/{first}/jobs?offset=100")["items"] == []


def test_lists_that_are_whole_are_limited_in_length_too(api, clusters, run):
    """R8, R16."""
    keys = [api.submit("a", "b", "c", "d") for _ in range(3)]
    jobs = run(keys[0], clusters["tiger"], "event", "terminated", "running", "event")
    ended = [job for job, state in zip(jobs, ("event", "terminated", "running", "event"), strict=True)
             if state != "running"]  # fmt: skip
    walks = {"/campaigns": keys, f"/campaigns/{keys[0]}/jobs/finished": ended, f"/campaigns/{keys[0]}/files": []}
    for path, expected in walks.items():
        seen, steps, here = [], 0, f"{path}?limit=2"
        while here:
            page = api.get(here)
            seen += [one["id"] for one in page["items"]]
            here = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
            steps += 1
        assert (seen, steps) == (expected, 2), path
        assert api.get(f"{path}?limit=0")["items"] == []
        assert api.ask("GET", f"{path}?limit=many").status == 400
    assert api.get("/campaigns?limit=2")["total"] == 3


def test_statistics(api, clusters, engine, run):
    """R14."""
    key = api.submit(*"abcdefg")
    nothing = api.get(f"/campaigns/{key}/stats")
    assert nothing == {
        "average_jobs_duration": 0.0, "stddev_jobs_duration": 0.0, "jobs_throughput": 0.0, "remaining_time": 1e16,
        "failures_rate": 0.0, "resubmit_rate": 0.0,
    }  # fmt: skip
    run(key, clusters["tiger"], "terminated", "terminated", "event", "event")
    with transaction(engine) as session:
        session.execute(
            text("UPDATE jobs SET created_at = now() - interval '100 s', start_time = now() - interval '20 s'")
        )
        session.execute(text("UPDATE jobs SET stop_time = start_time + interval '10 s'"))
        session.execute(text("UPDATE jobs SET outcome = 'success' WHERE state = 'terminated'"))
        session.execute(text("UPDATE jobs SET outcome = CASE id WHEN 3 THEN 'exit' ELSE 'preempted' END WHERE id > 2"))
    found = api.get(f"/campaigns/{key}/stats")
    assert (found["average_jobs_duration"], found["stddev_jobs_duration"]) == (10.0, 0.0)
    assert found["jobs_throughput"] == pytest.approx(2 / 100, rel=0.05)
    assert found["remaining_time"] == pytest.approx(3 / (2 / 100), rel=0.05)
    assert found["failures_rate"] == found["resubmit_rate"] == pytest.approx(1 / 3)
