"""Events through the API: shown with what they wait for, closed, made by administrators."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from cigri.db.engine import transaction
from cigri.db.events import News, blacklist, record


@pytest.fixture
def do(engine):
    """Run SQL."""

    def run(statement, **values):
        with transaction(engine) as session:
            done = session.execute(text(statement), values)
            return done.scalars().all() if done.returns_rows else []

    return run


@pytest.fixture
def failing(api, engine, do):
    """A campaign of alice with two failed tasks under one event, and a blacklist of it on tiger."""
    key = api.submit("a", "b", "c")
    with transaction(engine) as session:
        alike = {"campaign_id": key, "cluster_id": 1, "alike": "exit code 1"}
        event = record(session, News("EXIT_ERROR", "exit code 1\nsecret", job_id=1, last_job_id=2, count=2, **alike))
        blacklist(session, event, 1, key)
    do("UPDATE tasks SET state = 'active' WHERE line <> 'c'")
    do("UPDATE tasks SET state = 'failed' WHERE line <> 'c'")
    do(
        "INSERT INTO jobs (task_id, campaign_id, cluster_id, state, ended_at, event_id)"
        " SELECT id, campaign_id, 1, 'event', now(), :event FROM tasks WHERE line <> 'c'",
        event=event,
    )
    return key, event


def test_an_event_says_how_often_it_came_and_what_ends_it(api, failing):
    """E5."""
    key, event = failing
    found, black = api.get(f"/campaigns/{key}/events")["items"]
    assert (found["id"], found["count"], found["job_id"], found["last_job_id"]) == (event, 2, 1, 2)
    assert f"gridevents -e {event} -f" in found["waits_for"] and found["class"] == "job"
    assert (black["code"], black["parent"], black["class"]) == ("BLACKLIST", event, "campaign")
    assert black["waits_for"] == found["waits_for"]
    assert api.get(f"/campaigns/{key}/events", user="bob")["items"][0]["message"] == "exit code 1"


@pytest.mark.parametrize("again", [False, True])
def test_the_events_of_a_campaign_are_closed(api, failing, do, again):
    """E5, R21."""
    key, event = failing
    answer = api.ask("DELETE", f"/campaigns/{key}/events{'?resubmit=1' if again else ''}")
    assert answer.status == 202 and answer.json()["message"].startswith(f"Campaign {key} events closed: 1")
    assert (answer.json()["events"], answer.json()["tasks"]) == (1, 2 if again else 0)
    assert api.get(f"/campaigns/{key}/events") | {"links": []} == {
        "items": [], "total": 0, "limit": 100, "offset": 0, "links": [],
    }  # fmt: skip
    assert do("SELECT count(*) FROM tasks WHERE state = 'pending'") == [3 if again else 1]
    closed = {one["code"]: one for one in api.get(f"/campaigns/{key}/events?all")["items"]}
    assert closed["EXIT_ERROR"]["state"] == "closed" and closed["EXIT_ERROR"]["waits_for"] is None


def test_one_event_is_closed(api, failing, do):
    """R24: the blacklist goes with its cause, not by itself."""
    key, event = failing
    black = api.get(f"/campaigns/{key}/events")["items"][1]["id"]
    answer = api.ask("DELETE", f"/events/{black}")
    assert answer.status == 400 and f"close event {event} (EXIT_ERROR)" in answer.json()["message"]
    for user, status in (("bob", 403), ("alice", 202)):
        assert api.ask("DELETE", f"/events/{event}?resubmit", user=user).status == status
    assert api.get(f"/events/{black}")["state"] == "closed"
    assert api.ask("DELETE", f"/events/{event}").json()["message"] == f"Event {event} was closed already"
    assert do("SELECT count(*) FROM tasks WHERE state = 'pending'") == [3]
    assert api.ask("DELETE", "/events/999").status == api.ask("DELETE", "/events/x").status == 404


def test_a_cluster_is_blacklisted_by_an_administrator(api, clusters):
    """E2, R24."""
    asked = {"class": "cluster", "cluster_id": 1, "code": "CLUSTER_MANUALLY_DISABLED", "message": "no power \ud83d"}
    assert api.ask("POST", "/events", asked).status == 403
    made = api.ask("POST", "/events", asked, user="boss")
    key = made.json()["id"]
    assert made.status == 201 and made.headers["location"] == f"/events/{key}" and "tiger" in made.json()["message"]
    assert api.get("/clusters/1")["blacklisted"] is True
    event, black = api.get("/events")["items"]
    assert event["message"] == "no power ?" and "administrator" in black["waits_for"] and black["parent"] == key
    assert api.get("/campaigns", user="alice")["items"] == []
    campaign = api.submit("a")
    assert api.get(f"/campaigns/{campaign}")["has_events"] is True
    assert [one["id"] for one in api.get(f"/campaigns/{campaign}/events")["items"]] == [event["id"], black["id"]]
    assert api.ask("DELETE", f"/events/{key}").status == 403
    assert api.ask("DELETE", f"/events/{key}", user="root").status == 202
    assert api.get("/clusters/1")["blacklisted"] is False and api.get("/events")["items"] == []
    assert api.ask("POST", "/events", {"code": "BLACKLIST", "cluster_id": 2}, user="root").status == 201
    assert api.get("/clusters/2")["blacklisted"] is True


@pytest.mark.parametrize(
    "asked",
    [
        "", "[]", "{", "[" * 5000, {}, {"code": "TIMEOUT", "cluster_id": 1}, {"code": "BLACKLIST"},
        {"code": "BLACKLIST", "cluster_id": 99}, {"code": "BLACKLIST", "cluster_id": "1"},
        {"code": "MANUAL_EVENT", "job_id": 7}, {"code": "MANUAL_EVENT", "job_id": True},
        {"code": "BLACKLIST", "cluster_id": 1, "campaign_id": 1}, {"code": "BLACKLIST", "cluster_id": 1, "message": 1},
        {"class": "job", "code": "BLACKLIST", "cluster_id": 1}, {"class": 1, "code": "BLACKLIST", "cluster_id": 1},
    ],
)  # fmt: skip
def test_events_that_make_no_sense_are_refused(api, clusters, asked):
    answer = api.ask("POST", "/events", asked, user="root")
    assert answer.status == 400 and answer.json()["message"], answer.text


def test_a_job_is_set_aside_by_an_administrator(api, clusters, do):
    """E6: its task is not touched while it may still succeed."""
    key = api.submit("a")
    do(
        "INSERT INTO submissions (name, campaign_id, cluster_id, login, url_generation, state, size, remote_clock,"
        " settled_at) VALUES ('s', :key, 1, 'alice', 1, 'settled', 1, 0, now())",
        key=key,
    )
    job = do(
        "INSERT INTO jobs (task_id, campaign_id, cluster_id, state, submission_id, remote_id)"
        " SELECT id, campaign_id, 1, 'running', 1, 7 FROM tasks RETURNING id"
    )[0]
    asked = {"class": "job", "job_id": job, "code": "MANUAL_EVENT", "message": "marked \ud83d\0"}
    wrong = api.ask("POST", "/events", asked | {"class": "cluster"}, user="root")
    assert wrong.status == 400 and wrong.json()["message"] == (
        "class must be job with MANUAL_EVENT (or left out), not 'cluster'"
    )
    answer = api.ask("POST", "/events", asked, user="root")
    assert answer.status == 201 and answer.headers["location"] == f"/jobs/{job}"
    assert do("SELECT kill_reason || ' ' || kill_message FROM jobs") == ["manual marked ??"] and do(
        "SELECT state::text FROM tasks"
    ) == ["pending"]
    assert "being ended already" in api.ask("POST", "/events", asked, user="root").json()["message"]
    do("UPDATE jobs SET state = 'terminated', outcome = 'success', ended_at = now()")
    assert "has succeeded" in api.ask("POST", "/events", asked, user="root").json()["message"]


def test_pages_of_events(api, engine, clusters):
    """R21: `next` keeps what else was asked for."""
    key = api.submit("a")
    with transaction(engine) as session:
        for number in range(5):
            record(session, News("EXIT_ERROR", campaign_id=key, alike=str(number)))
    path, seen = f"/campaigns/{key}/events?limit=2&all=1", []
    while path:
        page = api.get(path)
        seen += [one["id"] for one in page["items"]]
        path = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert len(seen) == 6 == page["total"] and seen == sorted(seen)
    assert [one["id"] for one in api.get(f"/campaigns/{key}/events?after={seen[-2]}")["items"]] == seen[-1:]
