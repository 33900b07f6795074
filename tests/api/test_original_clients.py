"""The requests of the original's own clients (its bin/*.rb), through a front that sets X-Cigri-User: every key that
they read is in the reply, with a value of the kind they expect.
"""

from __future__ import annotations

import json
from functools import partial

import pytest
from sqlalchemy import text

from cigri.core import vault
from cigri.db.engine import transaction

JSON = {"Content_Type": "application/json"}
# The numbers that gridstat divides or prints with %d, and the words that it cuts, adds or looks up.
CAMPAIGN = {
    "id": int, "name": str, "user": str, "submission_time": int, "state": str, "finished_jobs": int,
    "total_jobs": int, "has_events": bool,
}  # fmt: skip
EVENT = {"id": int, "state": str, "code": str, "date_open": str, "message": str}
MAYBE = {"job_id": int, "cluster_name": str, "parent": int}
STATES = {"cancelled", "in_treatment", "terminated", "paused"}


def check(found, keys, optional=None):
    """All keys are there, with values of these kinds (or none, where they are optional)."""
    for key, kind in keys.items():
        assert isinstance(found[key], kind), (key, found[key])
    for key, kind in (optional or {}).items():
        assert found[key] is None or isinstance(found[key], kind), (key, found[key])


@pytest.fixture
def front(start, tmp_path, engine, clusters):
    """Asks as the original's clients do: over TCP, from an address that the grid trusts to say who it is."""
    key_file = tmp_path / "token.key"
    vault.create_key_file(str(key_file))
    api = start(api_trusted_addresses=("127.0.0.1",), token_key_file=str(key_file))

    def ask(method, path, body=None, user="alice"):
        headers = JSON if body is not None else {}
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        return api.ask(method, path, data, user=user, tcp=True, **headers)

    with transaction(engine) as session:
        session.execute(text("UPDATE clusters SET ssh_host = 'front' WHERE id = 1"))
    return ask


JDL = {"name": "test", "clusters": {"tiger": {"exec_file": "run"}}, "params": ["a 1", "b 2"]}


@pytest.fixture
def campaign(front, engine):
    """A campaign with a job on a cluster and an event."""
    answer = front("POST", "/campaigns", json.dumps(JDL))
    key = answer.json()["id"]
    with transaction(engine) as session:
        run = partial(session.execute)
        run(
            text(
                "INSERT INTO submissions (name, campaign_id, cluster_id, login, url_generation, state, size,"
                " remote_clock, settled_at) VALUES ('s', :key, 1, 'alice', 1, 'settled', 1, 0, now())"
            ),
            {"key": key},
        )
        run(
            text(
                "INSERT INTO jobs (task_id, campaign_id, cluster_id, state, submission_id, remote_id, stdout_path)"
                " SELECT id, campaign_id, 1, 'running', 1, 7, '/home/alice/OAR.7.stdout' FROM tasks WHERE line = 'a 1'"
            )
        )
        run(
            text(
                "INSERT INTO events (class, code, campaign_id, cluster_id, job_id, message)"
                " VALUES ('job', 'EXIT_ERROR', :key, 1, 1, 'exit code 1')"
            ),
            {"key": key},
        )
    return key


def test_gridsub(front, clusters):
    """C1, R9: a new campaign, more jobs, refusals."""
    answer = front("POST", "/campaigns", json.dumps(JDL))
    assert answer.status == 201 and isinstance(answer.json()["id"], int)
    more = front("POST", f"/campaigns/{answer.json()['id']}/jobs", '["c 3"]')
    assert more.status == 201 and more.json()["total_jobs"] == 3
    check(front("POST", "/campaigns", "{").json(), {"title": str, "message": str})
    assert front("POST", "/campaigns", json.dumps(JDL), user=None).status == 403


def test_gridstat_lists(front, campaign):
    """C2, R8."""
    found = front("GET", "/campaigns").json()["items"]
    check(found[0], CAMPAIGN)
    assert {one["state"] for one in found} <= STATES
    for path in (
        "/campaigns?pretty=true",
        f"/campaigns/{campaign}/jobs?pretty=true&offset=1",
        f"/campaigns/{campaign}",
    ):
        assert front("GET", path).status == 200


def test_gridstat_shows_a_campaign(front, campaign):
    """C2, R10, R14, R15."""
    found = front("GET", f"/campaigns/{campaign}").json()
    check(found, CAMPAIGN)
    for use in found["clusters"].values():
        check(
            use, {"cluster_name": str, "active_jobs": int, "queued_jobs": int, "prologue_ok": bool, "epilogue_ok": bool}
        )
    stats = front("GET", f"/campaigns/{campaign}/stats").json()
    numbers = ("average_jobs_duration", "stddev_jobs_duration", "jobs_throughput", "remaining_time", "failures_rate")
    check(stats, dict.fromkeys((*numbers, "resubmit_rate"), (int, float)))
    page = front("GET", f"/campaigns/{campaign}/jobs?offset=0").json()
    for job in page["items"]:
        check(job, {"id": int, "state": str, "name": str, "parameters": str})
        check(job, {}, {"cigri_job_id": int, "remote_id": int, "cluster": str})
    assert all({"rel", "href"} <= link.keys() for link in page["links"])
    check(page, {"offset": int, "limit": int})
    assert front("GET", "/campaigns/999").json()["status"] == 404
    assert front("GET", f"/campaigns/{campaign}/jdl?pretty=true").json()["params"] == ["a 1", "b 2"]


def test_gridstat_follows_the_next_link(front, clusters):
    """R15: the link is asked for as it stands."""
    key = front("POST", "/campaigns", json.dumps(JDL | {"params": [f"p{n}" for n in range(101)]})).json()["id"]
    page = front("GET", f"/campaigns/{key}/jobs").json()
    following = next(link["href"] for link in page["links"] if link["rel"] == "next")
    assert [job["name"] for job in front("GET", following).json()["items"]] == ["p100"]


def test_gridstat_shows_a_job(front, campaign):
    """C2, R18, R19: an output that is not there is told with a status and a message."""
    job = front("GET", "/jobs/1").json()
    check(job, {"id": int, "state": str, "links": list})
    for part in ("stdout", "stderr", "cinfos?pretty=true"):
        check(front("GET", f"/jobs/1/{part}").json(), {"status": int, "message": str})


def test_gridevents(front, campaign):
    """C4, R21, R24."""
    for path in (f"/campaigns/{campaign}/events", f"/campaigns/{campaign}/events?all=1"):
        for event in front("GET", path).json()["items"]:
            check(event, EVENT, MAYBE)
    event = front("GET", "/events/2").json()
    check(event, EVENT, MAYBE)
    assert front("GET", "/events").json()["items"] == []
    disabled = {"class": "cluster", "cluster_id": 1, "code": "CLUSTER_MANUALLY_DISABLED", "message": "Be patient."}
    for user, status in (("alice", 403), ("root", 201)):
        answer = front("POST", "/events", disabled, user=user)
        assert answer.status == status
        check(answer.json(), {"message": str})
    marked = {"class": "job", "job_id": 1, "code": "MANUAL_EVENT", "message": "The job has been marked."}
    assert front("POST", "/events", marked, user="root").status == 201
    for path in ("/events/2?resubmit=1", f"/campaigns/{campaign}/events", f"/campaigns/{campaign}/events?resubmit=1"):
        answer = front("DELETE", path)
        assert answer.status == 202
        check(answer.json(), {"message": str})


def test_griddel(front, campaign):
    """C3, R12, R20."""
    for path in ("/jobs/1", *(f"/campaigns/{campaign}{query}" for query in ("?hold=1", "?resume=1", "", "?purge=1"))):
        answer = front("DELETE", path)
        # The job that is still on its cluster is waited for.
        assert answer.status == (409 if "purge" in path else 202), answer.text
        check(answer.json(), {"message": str})


def test_gridclusters(front, clusters, engine):
    """C5, R2, R3."""
    with transaction(engine) as session:
        session.execute(text("INSERT INTO grid_usage VALUES (now(), 1, 10, 5, 2, 1)"))
    for cluster in front("GET", "/clusters").json()["items"]:
        check(cluster, {"id": int, "name": str})
        check(
            front("GET", f"/clusters/{cluster['id']}").json(),
            {"ssh_host": str, "stress_factor": str, "blacklisted": bool, "under_stress": bool},
        )
    (use,) = front("GET", "/gridusage").json()["items"][0]["clusters"]
    numbers = ("max_resources", "used_resources", "used_by_cigri", "unavailable_resources", "cluster_id")
    check(use, {"cluster_name": str} | dict.fromkeys(numbers, int))


def test_gridnotify(front, clusters):
    """C6, R25."""
    answer = front("POST", "/notifications/mail", {"identity": "alice@example.org", "severity": "high"})
    assert answer.status == 201
    check(answer.json(), {"message": str})
    for one in front("GET", "/notifications?pretty=true").json()["items"]:
        check(one, {"type": str, "identity": str, "severity": str})
    assert front("DELETE", "/notifications/mail?identity=alice@example.org").status == 202


def test_gridtoken(front, clusters, engine):
    """C7, R26: the token's place has something to show, not the token."""
    with transaction(engine) as session:
        session.execute(text("UPDATE clusters SET api_auth_type = 'jwt'"))
    answer = front("POST", "/tokens", {"cluster_id": "1", "token": "opaque-and-secret"})
    if answer.status != 201:  # the cluster's tokens must say who they are of
        check(answer.json(), {"message": str})
    else:
        (token,) = front("GET", "/tokens?pretty=true").json()["items"]
        assert token["cluster_id"] == 1 and token["cluster_login"].split(" ", 1)[1] not in ("", "opaque-and-secret")
        assert front("DELETE", "/tokens/1").status == 202


def test_gridclean(front, campaign):
    """C8, R16."""
    for job in front("GET", f"/campaigns/{campaign}/jobs/finished").json()["items"]:
        check(job, {"cluster_id": int, "remote_id": int})
