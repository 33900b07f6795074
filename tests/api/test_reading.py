"""What the API shows, and in which shape."""

from __future__ import annotations

from sqlalchemy import insert, text

from cigri.db import events
from cigri.db.engine import transaction
from cigri.db.tables import GridUsage

CAMPAIGN_KEYS = [
    "id", "name", "user", "state", "has_events", "submission_time", "total_jobs", "finished_jobs", "links",
]  # fmt: skip


def links(thing):
    return {link.get("title", link["rel"]): link["href"] for link in thing["links"]}


def test_the_way_in(api):
    """R4."""
    found = links(api.get("/"))
    assert found["self"] == "/"
    assert {(name, found.get(name)) for name in ("campaigns", "clusters", "events", "gridusage")} == {
        ("campaigns", "/campaigns"), ("clusters", "/clusters"), ("events", "/events"), ("gridusage", "/gridusage"),
    }  # fmt: skip


def test_a_campaign_in_the_list_and_alone(api):
    """R8, R10."""
    key = api.submit("a 1", "b 2")
    listed = api.get("/campaigns")
    assert listed["total"] == 1 and list(listed["items"][0]) == CAMPAIGN_KEYS
    assert links(listed) == {"self": "/campaigns", "parent": "/"}
    alone = api.get(f"/campaigns/{key}")
    assert {name: alone[name] for name in CAMPAIGN_KEYS} == listed["items"][0]
    assert (alone["state"], alone["total_jobs"], alone["finished_jobs"]) == ("in_treatment", 2, 0)
    assert links(alone) == {
        "self": f"/campaigns/{key}",
        "parent": "/campaigns",
        "jobs": f"/campaigns/{key}/jobs",
        "events": f"/campaigns/{key}/events",
        "jdl": f"/campaigns/{key}/jdl",
    }
    (use,) = alone["clusters"].values()
    assert use == {
        "cluster_name": "tiger", "active_jobs": 0, "queued_jobs": 0, "prologue_ok": True, "epilogue_ok": True,
    }  # fmt: skip
    assert alone["tasks"] == {"pending": 2, "active": 0, "done": 0, "failed": 0, "cancelled": 0}


def test_the_jdl_is_expanded_and_has_every_task(api):
    """R13."""
    key = api.submit("a 1", "b 2", exec_directory="/data")
    jdl = api.get(f"/campaigns/{key}/jdl")
    assert {"name", "clusters", "jobs_type", "params"} <= jdl.keys()
    assert jdl["params"] == ["a 1", "b 2"]
    tiger = jdl["clusters"]["tiger"]
    assert (tiger["exec_file"], tiger["exec_directory"], tiger["walltime"]) == ("run", "/data", "1:00:00")


def test_links_stand_under_the_prefix_of_the_front(api):
    """R1."""
    key = api.submit("a")
    answer = api.get("/campaigns", X_Cigri_Api_Path_Prefix="/grid/v1/")
    assert links(answer)["self"] == "/grid/v1/campaigns"
    assert links(answer["items"][0])["jobs"] == f"/grid/v1/campaigns/{key}/jobs"


def test_pretty_is_indented_and_ends_with_a_line(api):
    """R1."""
    key = api.submit("a", "b")
    for path in ("/campaigns", f"/campaigns/{key}", f"/campaigns/{key}/jdl", f"/campaigns/{key}/jobs/finished"):
        plain, asked, unasked = (api.ask("GET", path + query) for query in ("", "?pretty", "?pretty=false"))
        assert plain.json() == asked.json() and plain.body == unasked.body
        assert asked.text.startswith("{\n  ") and asked.text.endswith("}\n")
        assert plain.text.count("\n") == 1 and plain.text.endswith("\n")


def test_a_trailing_slash_changes_nothing(api):
    """R1."""
    for path in ("/campaigns", "/clusters", "/gridusage", "/events"):
        assert api.get(path + "/") == api.get(path)


ABSENT = [
    "/toto", "/campaigns/7", "/campaigns/-1", "/campaigns/toto", "/campaigns/99999999999", "/campaigns/%D9%A3",
    "/campaigns/7/jdl", "/campaigns/7/jobs", "/campaigns/7/stats", "/campaigns/7/events", "/campaigns/7/jobs/1",
    "/campaigns/7/jobs/finished", "/clusters/99", "/clusters/x", "/jobs/1", "/jobs/x", "/jobs/1/stdout",
    "/events/1", "/events/99999999999999999999", "/campaigns/1%20or%201=1", "/campaigns/%FF",
]  # fmt: skip


def test_what_is_not_there(api):
    """R1."""
    for path in ABSENT:
        answer = api.ask("GET", path)
        assert answer.status == 404, path
        told = answer.json()
        assert (told["status"], told["title"]) == (404, "Not found") and len(told["message"]) > 15


def test_the_task_of_another_campaign_is_not_there(api):
    first, second = api.submit("a"), api.submit("b")
    task = api.get(f"/campaigns/{first}/jobs")["items"][0]["id"]
    assert api.ask("GET", f"/campaigns/{second}/jobs/{task}").status == 404


def test_a_method_that_is_not_possible(api):
    answer = api.ask("PUT", "/campaigns")
    assert answer.status == 405 and answer.headers["allow"] == "GET,POST"
    assert set(answer.json()) == {"status", "title", "message"}


def test_allow_is_in_every_answer(api):
    """R1."""
    key = api.submit("a")
    expected = {
        "/": "GET",
        "/campaigns": "GET,POST",
        f"/campaigns/{key}": "DELETE,GET,PUT",
        f"/campaigns/{key}/jobs": "GET,POST",
        "/jobs/1": "DELETE,GET",
    }
    for path, methods in expected.items():
        assert api.ask("GET", path).headers["allow"] == methods


def test_head_is_get_without_a_body(api):
    answer, whole = api.ask("HEAD", "/clusters"), api.ask("GET", "/clusters")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(whole.body))


def test_clusters(api, clusters):
    """R2."""
    listed = api.get("/clusters")
    assert [(item["id"], item["name"]) for item in listed["items"]] == [
        (clusters["tiger"], "tiger"),
        (clusters["lion"], "lion"),
    ]
    assert listed["total"] == 2
    tiger = api.get(f"/clusters/{clusters['tiger']}")
    assert tiger["blacklisted"] is False and tiger["under_stress"] is False and tiger["stress_factor"] == "0/0.8"
    assert not {"api_username", "api_password", "token_file"} & tiger.keys()


def test_a_cluster_in_trouble(api, clusters, engine):
    """R2."""
    with transaction(engine) as session:
        events.record(session, events.News("TIMEOUT", "no answer", cluster_id=clusters["tiger"]))
        session.execute(
            text("INSERT INTO cluster_status (cluster_id, stress) VALUES (:id, 0.9)"), {"id": clusters["tiger"]}
        )
    tiger = api.get(f"/clusters/{clusters['tiger']}")
    assert (tiger["blacklisted"], tiger["under_stress"], tiger["stress_factor"]) == (True, True, "0.9/0.8")


def test_users_learn_that_a_cluster_of_theirs_is_down(api, clusters, engine):
    mine, other = api.submit("a"), api.submit("b", clusters={"lion": {"exec_file": "x"}})
    with transaction(engine) as session:
        cause = events.record(session, events.News("TIMEOUT", "no answer", cluster_id=clusters["tiger"]))
    found = {item["id"]: item["has_events"] for item in api.get("/campaigns")["items"]}
    assert found == {mine: True, other: False}
    listed = api.get(f"/campaigns/{mine}/events")
    timeout, blacklist = listed["items"]
    assert listed["total"] == 2 and (timeout["code"], timeout["class"]) == ("TIMEOUT", "cluster")
    assert (blacklist["code"], blacklist["parent"], blacklist["cluster_name"]) == ("BLACKLIST", cause, "tiger")
    assert api.get(f"/campaigns/{other}/events")["items"] == []
    assert [event["id"] for event in api.get("/events")["items"]] == [timeout["id"], blacklist["id"]]
    alone = api.get(f"/events/{cause}")
    assert alone["message"] == "no answer" and links(alone)["parent"] == "/events"


def test_closed_events_of_a_campaign_are_shown_with_all(api):
    """R21."""
    key = api.submit("a")
    assert api.get(f"/campaigns/{key}/events")["items"] == []
    (news,) = api.get(f"/campaigns/{key}/events?all")["items"]
    assert (news["code"], news["state"]) == ("NEW_CAMPAIGN", "closed")


def test_events_come_in_pages(api, engine):
    """R7."""
    key = api.submit("a")
    with transaction(engine) as session:
        ids = [
            events.record(session, events.News("EXIT_ERROR", campaign_id=key, alike=str(number))) for number in range(5)
        ]
    page = api.get(f"/campaigns/{key}/events?limit=2&offset=2")
    assert ([event["id"] for event in page["items"]], page["total"], page["offset"]) == (ids[2:4], 5, 2)


def test_pages_are_numbers(api):
    """R7."""
    key = api.submit("a")
    for query in ("limit=x", "offset=-1", "limit=1e3", "offset="):
        answer = api.ask("GET", f"/campaigns/{key}/jobs?{query}")
        assert answer.status == 400 and "whole number" in answer.json()["message"]


def test_grid_usage(api, clusters, engine):
    """R3."""
    assert api.get("/gridusage")["items"] == []
    sizes = {"max_resources": 10, "used_resources": 5, "used_by_cigri": 2, "unavailable_resources": 1}
    with transaction(engine) as session:
        for second in (100, 200):
            date = session.scalar(text("SELECT to_timestamp(:second)"), {"second": second})
            for cluster_id in clusters.values():
                session.execute(insert(GridUsage).values(date=date, cluster_id=cluster_id, **sizes))
    newest = api.get("/gridusage")
    (item,) = newest["items"]
    assert item["date"] == 200
    assert item["clusters"][0] == {"cluster_name": "tiger", "cluster_id": clusters["tiger"], **sizes}
    assert [one["date"] for one in api.get("/gridusage?from=0")["items"]] == [100, 200]
    assert [one["date"] for one in api.get("/gridusage?from=100&to=300")["items"]] == [200]
    assert [one["date"] for one in api.get("/gridusage?to=100")["items"]] == [100]
    assert api.ask("GET", "/gridusage?from=yesterday").status == 400


def test_private_grids_show_everybody_their_own(start):
    api = start(api_private=True)
    mine, other = api.submit("a"), api.submit("b", user="bob")
    seen = {
        user: [item["id"] for item in api.get("/campaigns", user=user)["items"]] for user in ("alice", "bob", "boss")
    }
    assert seen == {"alice": [mine], "bob": [other], "boss": [mine, other]}
    assert api.get("/campaigns", user="null")["items"] == []
    for part in ("", "/jobs", "/jdl", "/stats", "/events", "/jobs/finished"):
        assert api.ask("GET", f"/campaigns/{other}{part}").status == 404
        assert api.ask("GET", f"/campaigns/{other}{part}", user="boss").status == 200


def test_the_routes_are_described(api):
    paths = api.get("/openapi.json")["paths"]
    assert {"/campaigns", "/campaigns/{campaign}/jobs", "/jobs/{job}/stdout"} <= paths.keys()
