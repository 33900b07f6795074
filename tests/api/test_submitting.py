"""Campaigns and tasks that arrive: whole or not at all, once, and with every fault told."""

from __future__ import annotations

import json
import socket
import threading
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from cigri.core.shell import check_line
from cigri.db.engine import transaction
from cigri.db.tables import Campaign, Task

NDJSON = {"Content_Type": "application/x-ndjson"}
JDL = {"name": "test", "clusters": {"tiger": {"exec_file": "run"}}}


def body(*lines, jdl=JDL):
    return "".join(f"{json.dumps(line)}\n" for line in (jdl, *lines))


def count(engine, table=Campaign):
    with transaction(engine) as session:
        return session.scalar(select(func.count()).select_from(table))


def params(api, key):
    return api.get(f"/campaigns/{key}/jdl")["params"]


def test_a_new_campaign(api):
    """R9."""
    answer = api.ask("POST", "/campaigns", JDL | {"nb_jobs": 3})
    assert answer.status == 201
    campaign = answer.json()
    assert answer.headers["location"] == f"/campaigns/{campaign['id']}"
    assert (campaign["user"], campaign["total_jobs"]) == ("alice", 3)
    assert campaign["walltimes"] == {"tiger": "1:00:00"}
    assert params(api, campaign["id"]) == ["0", "1", "2"]


def test_bodies_are_json_whatever_they_say(api):
    """R5."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"):
        answer = api.ask("POST", "/campaigns", json.dumps(JDL | {"params": ["a"]}), Content_Type=kind)
        assert answer.status == 201


def test_the_leniencies_of_the_original(api):
    """J1."""
    lenient = '{"NAME": "x", // comment\n "params": ["\\$HOME", 7], "clusters": {"tiger": {"exec_file": "run"}}}'
    assert params(api, api.ask("POST", "/campaigns", lenient).json()["id"]) == ["$HOME", "7"]


def test_lines(api):
    answer = api.ask("POST", "/campaigns", body("a 1", 'é \\\\ "q"', 7), **NDJSON)
    assert answer.status == 201
    assert params(api, answer.json()["id"]) == ["a 1", 'é \\\\ "q"', "7"]


def test_an_empty_campaign_is_accepted(api):
    """J6."""
    for answer in (
        api.ask("POST", "/campaigns", JDL | {"nb_jobs": 0}),
        api.ask("POST", "/campaigns", body(), **NDJSON),
    ):
        assert (answer.status, answer.json()["total_jobs"]) == (201, 0)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.text(max_size=30).filter(lambda line: check_line(line) is None), max_size=20))
def test_every_good_line_comes_back_as_it_was_sent(api, lines):
    streamed = api.ask("POST", "/campaigns", body(*lines), **NDJSON).json()["id"]
    whole = api.ask("POST", "/campaigns", JDL | {"params": lines}).json()["id"]
    assert params(api, streamed) == lines == params(api, whole)
    tasks = api.get(f"/campaigns/{streamed}/jobs")["items"]
    assert [task["parameters"] for task in tasks] == lines


def test_all_faults_at_once_with_the_numbers_of_the_lines(api, engine):
    bad = {"nam": "x", "clusters": {"tiger": {"exec_fil": "run"}}}
    lines = body("good", "it's", jdl=bad) + '"a\n' + '"nul \\u0000"\n' + '"half \\ud800"\n' + "[1]\n"
    answer = api.ask("POST", "/campaigns", lines, **NDJSON)
    told = answer.json()
    assert (answer.status, told["title"]) == (400, "Error")
    paths = [fault["path"] for fault in told["faults"]]
    assert {"name", "line 2", "line 3", "line 4", "line 5", "line 6"} <= set(paths)
    assert 'did you mean "exec_file"' in told["message"] and "line 2: has a ' without its partner" in told["message"]
    assert count(engine) == 0 == count(engine, Task)


def test_many_faults_are_counted(api):
    told = api.ask("POST", "/campaigns", body(*["'"] * 500), **NDJSON).json()["message"]
    assert "480 more lines" in told and len(told.splitlines()) < 45


def test_a_body_that_is_no_json_is_told_where(api):
    told = api.ask("POST", "/campaigns", '{"name": "x",\n "clusters" 1}').json()
    assert told["status"] == 400 and "line 2" in told["message"]
    assert api.ask("POST", "/campaigns", b'{"name": "\xff"}').status == 400
    assert api.ask("POST", "/campaigns", b"").status == 400
    assert api.ask("POST", "/campaigns", b"", **NDJSON).status == 400


def test_the_server_opens_no_file(api):
    answer = api.ask("POST", "/campaigns", JDL | {"param_file": "/etc/passwd"})
    assert answer.status == 400 and "gridsub" in answer.json()["message"]
    answer = api.ask("POST", "/campaigns", body("a", jdl=JDL | {"param_file": "/etc/passwd"}), **NDJSON)
    assert answer.status == 400 and "leave it out" in answer.json()["message"]


def test_unknown_clusters_are_skipped_with_a_warning(api):
    """J7."""
    clusters = {"tiger": {"exec_file": "x"}, "tigre": {"exec_file": "y"}}
    answer = api.ask("POST", "/campaigns", JDL | {"clusters": clusters, "params": []})
    assert answer.status == 201 and "tigre" in answer.json()["warnings"][0]
    assert len(answer.json()["clusters"]) == 1
    answer = api.ask("POST", "/campaigns", JDL | {"clusters": {"tigre": {"exec_file": "y"}}, "params": []})
    assert answer.status == 400 and "lion, tiger" in answer.json()["message"]


def test_a_dry_run_stores_nothing(api, engine):
    answer = api.ask("POST", "/campaigns?dry_run", body("a", "b"), **NDJSON)
    told = answer.json()
    assert (answer.status, told["total_jobs"], told["walltimes"]) == (200, 2, {"tiger": "1:00:00"})
    assert told["jdl"]["clusters"]["tiger"]["exec_file"] == "run"
    assert api.ask("POST", "/campaigns?dry_run", body("'"), **NDJSON).status == 400
    assert count(engine) == 0


def test_nobody_may_not_submit(api, engine):
    for user in ("", "unknown", "null", "NULL"):
        assert api.ask("POST", "/campaigns", JDL | {"params": []}, user=user).status == 403
    assert count(engine) == 0


def test_the_same_key_is_the_same_campaign(api, engine):
    key = {"Idempotency_Key": "one"}
    first, again = (api.ask("POST", "/campaigns", body("a"), **NDJSON, **key) for _ in range(2))
    assert (first.status, again.status) == (201, 201) and first.json()["id"] == again.json()["id"]
    other = api.ask("POST", "/campaigns", body("b"), **NDJSON, **key)
    assert other.status == 422 and "new key" in other.json()["message"]
    assert api.ask("POST", "/campaigns", body("a"), user="bob", **NDJSON, **key).json()["id"] != first.json()["id"]
    assert count(engine) == 2


def test_the_same_key_at_the_same_time(api, engine):
    found = []

    def submit():
        found.append(
            api.ask("POST", "/campaigns", body(*map(str, range(3000))), **NDJSON, Idempotency_Key="k").json()["id"]
        )

    threads = [threading.Thread(target=submit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and len(set(found)) == 1
    assert (count(engine), count(engine, Task)) == (1, 3000)


def test_tasks_are_added_once_for_a_key(api):
    key = api.submit("a")
    for _ in range(2):
        answer = api.ask("POST", f"/campaigns/{key}/jobs", ["b", "c"], Idempotency_Key="k")
        assert (answer.status, answer.json()["total_jobs"]) == (201, 3)
        assert answer.headers["location"] == f"/campaigns/{key}"
    lines = "".join(f'"{word}"\n' for word in "de")
    assert api.ask("POST", f"/campaigns/{key}/jobs", lines, **NDJSON).json()["total_jobs"] == 5
    assert params(api, key) == ["a", "b", "c", "d", "e"]


def test_a_key_is_a_short_word(api):
    for key in ("x" * 129, "é"):
        assert api.ask("POST", "/campaigns", JDL | {"params": []}, Idempotency_Key=key).status == 400


def test_bad_tasks_are_not_added(api):
    key = api.submit("a")
    for bad in ('{"a": 1}', '["x", "\'"]', "[", '["a", null]'):
        answer = api.ask("POST", f"/campaigns/{key}/jobs", bad)
        assert answer.status == 400 and answer.json()["message"].startswith("Error adding tasks: ")
    assert api.get(f"/campaigns/{key}")["total_jobs"] == 1


def test_bodies_have_a_limit(start, engine):
    """R5."""
    api = start(api_max_body=1000)
    long = body(*["x" * 100] * 20)
    assert api.ask("POST", "/campaigns", long, **NDJSON).status == 413
    pieces = (long[start : start + 50].encode() for start in range(0, len(long), 50))
    answer = api.ask("POST", "/campaigns", pieces, **NDJSON)
    assert answer.status == 413 and "API_MAX_BODY" in answer.json()["message"]
    assert count(engine) == 0


def test_an_upload_that_stops_in_the_middle_leaves_nothing(api, engine):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(api.socket)
        head = "POST /campaigns HTTP/1.1\r\nHost: x\r\nX-Cigri-User: alice\r\nContent-Type: application/x-ndjson\r\n"
        whole = body("a", "b").encode()
        connection.sendall(f"{head}Content-Length: {len(whole) + 10}\r\n\r\n".encode() + whole)
        time.sleep(0.2)
        with transaction(engine) as session:  # whoever is slow holds no transaction
            busy = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = current_database()"
            assert session.scalar(text(busy)) == 0
    time.sleep(0.2)
    assert count(engine) == 0
    assert api.get("/campaigns")["total"] == 0


def test_a_campaign_is_seen_with_all_its_tasks_or_not_at_all(api):
    thread = threading.Thread(
        target=api.ask, args=("POST", "/campaigns", body(*map(str, range(20_000)))), kwargs=NDJSON
    )
    thread.start()
    seen = set()
    while thread.is_alive():
        seen |= {item["total_jobs"] for item in api.get("/campaigns")["items"]}
    thread.join()
    assert seen <= {20_000} and api.get("/campaigns")["items"][0]["total_jobs"] == 20_000
