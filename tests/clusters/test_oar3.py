"""Oar3 against replies recorded from a real OAR3 (commit c332316)."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import responses
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from responses import matchers

from cigri.clusters import records
from cigri.clusters.base import Deletion, RemoteJob, RemoteState, Resources, Submission
from cigri.clusters.connect import ClusterSettings, connect
from cigri.clusters.credentials import Identity
from cigri.clusters.document import decode
from cigri.clusters.http import Transport
from cigri.clusters.oar3 import Oar3
from cigri.errors import BadReply, ClusterError, ConfigError, NoAnswer, NotFound, Refused, TokenRefused

API = "http://oar.example:6668/oarapi"
FAULT = {"body": "Internal Server Error", "status": 500, "content_type": "text/plain"}

TERMINATED = json.loads(
    '{"id":1,"array_id":1,"array_index":1,"initial_request":"/bin/sleep 5; hostname","type":"PASSIVE","info_type":'
    '"vm:","state":"Terminated","reservation":"None","message":"R=1,W=120,J=P,Q=default","scheduler_info":"","user"'
    ':"alice","project":"default","group":"","command":"/bin/sleep 5; hostname","exit_code":0,"queue_name":"default"'
    ',"properties":"drain=\'NO\'","launching_directory":"/home/alice","submission_time":1795336197,"start_time":'
    '1795336250,"stop_time":1795336257,"accounted":"NO","assigned_moldable_job":1,"checkpoint":0,'
    '"checkpoint_signal":12,"stdout_file":"OAR.1.stdout","stderr_file":"OAR.1.stderr","resubmit_job_id":0,'
    '"suspended":"NO","exit_status_code":0,"resources":[{"id":1}],"nodes":[{"network_address":"oar3-node1"}],'
    '"events":[{"id":1,"type":"SWITCH_INTO_TERMINATE_STATE","job_id":1,"date":1795336257,"description":'
    '"[1] Ask to change the job state","to_check":"NO"}],"walltime":60,"actual_resources":"/resource_id=1"}'
)
PREEMPTED = json.loads(
    '{"id":11086,"array_id":11086,"array_index":1,"initial_request":"sleep 200","type":"PASSIVE","state":"Error",'
    '"message":"R=8,J=P,Q=besteffort","user":"alice","command":"sleep 200","queue_name":"besteffort",'
    '"launching_directory":"/home/alice/oar3","submission_time":1795337110,"start_time":1795337111,"stop_time":'
    '1795337120,"stdout_file":"OAR.11086.stdout","stderr_file":"OAR.11086.stderr","resubmit_job_id":0,"resources":'
    '[{"id":1},{"id":2}],"nodes":[{"network_address":"oar3-node1"},{"network_address":"oar3-node2"}],"events":['
    '{"id":11126,"type":"SCHEDULER_PRIORITY_UPDATED_STOP","date":1795337121,"description":"","to_check":"YES"},'
    '{"id":11114,"type":"FRAG_JOB_REQUEST","date":1795337117,"description":"User oar requested to frag the job",'
    '"to_check":"NO"},{"id":11113,"type":"BESTEFFORT_KILL","date":1795337117,"description":"kill","to_check":"NO"}],'
    '"types":{"besteffort":true},"walltime":300}'
)
SHORT = [
    {"id": i, "state": "Waiting", "user": "alice", "queue_name": "default", "submission_time": 1795336448}
    for i in (5, 6, 7)
]
RESOURCE = json.loads(
    '{"id": 1, "type": "default", "network_address": "oar3-node1", "state": "Alive", "next_state": "UnChanged",'
    '"suspended_jobs": "NO", "besteffort": "YES", "deploy": "NO", "expiry_date": 0, "last_job_date": 1795336257,'
    '"available_upto": 2147483647, "drain": "NO", "cpu": 1, "core": 1}'
)
SUBMISSION = Submission(
    name="cigri.0a1b2c3d.7.0123456789abcdef0123",
    login="alice",
    command="export CIGRI_CAMPAIGN_ID=7",
    lines=("CIGRI_JOB_ID=1; ./run a", "CIGRI_JOB_ID=2; ./run b"),
    resources="/resource_id=1",
    walltime="1:00:00",
    directory="/home/alice",
)


def page(*items: Any, total: int | None = None) -> dict[str, Any]:
    return {"total": len(items) if total is None else total, "offset": 0, "items": list(items)}


def query(params: dict[str, Any]) -> Any:
    return matchers.query_param_matcher(params)


@pytest.fixture
def oar() -> Oar3:
    return Oar3(Transport("c1", API, Identity(), timeout=2))


# --- reading jobs


def test_a_detailed_job(api, oar):
    api.get(f"{API}/jobs/1", json=TERMINATED, match=[query({"details": "true"})])
    job = oar.job(1)
    assert (job.id, job.state, job.word, job.exit_code) == (1, RemoteState.TERMINATED, "Terminated", 0)
    assert (job.array_id, job.array_index, job.queue, job.user) == (1, 1, "default", "alice")
    assert job.command == "/bin/sleep 5; hostname"
    assert (job.submission_time, job.start_time, job.stop_time) == (1795336197, 1795336250, 1795336257)
    assert (job.walltime, job.nodes, job.resources, job.detailed) == (60, ("oar3-node1",), 1, True)
    assert (job.launching_directory, job.stdout_file) == ("/home/alice", "OAR.1.stdout")
    assert [event.kind for event in job.events] == ["SWITCH_INTO_TERMINATE_STATE"]


def test_a_killed_job_has_no_exit_code_and_its_events_are_sorted():
    job = records.job(PREEMPTED)
    assert job.state is RemoteState.ERROR and job.exit_code is None
    assert [event.kind for event in job.events] == [
        "BESTEFFORT_KILL",
        "FRAG_JOB_REQUEST",
        "SCHEDULER_PRIORITY_UPDATED_STOP",
    ]
    assert [event.to_check for event in job.events] == [False, False, True]
    assert (job.nodes, job.resources) == (("oar3-node1", "oar3-node2"), 2)


def test_every_state_word_of_oar_is_known_and_others_are_said():
    oar_words = ["Waiting", "Hold", "toLaunch", "toError", "toAckReservation", "Launching", "Running"]
    oar_words += ["Suspended", "Resuming", "Finishing", "Terminated", "Error"]
    assert set(records.STATES) == set(oar_words)
    assert RemoteState.UNKNOWN not in records.STATES.values()
    for word in oar_words:
        job = records.job({"id": 1, "state": word})
        assert job.state.final is (word in ("Terminated", "Error"))
        assert not job.detailed
    odd = records.job({"id": 1, "state": "Zombie"})
    assert (odd.state, odd.word) == (RemoteState.UNKNOWN, "Zombie")


def test_text_that_the_database_would_refuse_is_mended():
    assert records.job({"id": 1, "state": "Error", "message": "a\0b\ud800c"}).message == "a\ufffdb?c"


def test_live_jobs_are_asked_for_by_user_only(api, oar):
    api.get(f"{API}/jobs", json=page(*SHORT), match=[query({"user": "alice", "limit": "500"})])
    assert [job.id for job in oar.live_jobs("alice")] == [5, 6, 7]
    assert api.calls[0].request.headers["X-Remote-Ident"] == "alice"


def test_ended_jobs_are_found_by_start_time_and_errors_by_state(api, oar):
    api.get(
        f"{API}/jobs",
        json=page(TERMINATED),
        match=[query({"user": "alice", "start_time": "1795336000", "details": "true", "limit": "500"})],
    )
    assert [job.id for job in oar.jobs_since("alice", 1795336000.9, details=True)] == [1]
    api.get(
        f"{API}/jobs",
        json=page(PREEMPTED),
        match=[query({"user": "alice", "states": "Error", "details": "true", "limit": "500"})],
    )
    assert [job.id for job in oar.error_jobs("alice", details=True)] == [11086]


def test_a_long_list_is_asked_for_once_more_whole(api, oar):
    jobs = [{**SHORT[0], "id": i} for i in range(1, 10_001)]
    api.get(f"{API}/jobs", json=page(*jobs[:500], total=10_000), match=[query({"array": "1", "limit": "500"})])
    api.get(f"{API}/jobs", json=page(*jobs), match=[query({"array": "1", "limit": "12600"})])
    assert len(oar.array(1, details=False)) == 10_000
    oar.array(1, details=False)
    assert len(api.calls) == 3, "the limit is remembered"


@pytest.mark.parametrize("total", [2, 4, 501])
def test_a_list_that_is_not_whole_is_no_list(api, oar, total):
    api.get(f"{API}/jobs", json=page(*SHORT, total=total))
    with pytest.raises(BadReply, match="3 of"):
        oar.live_jobs("alice")


def test_an_empty_list(api, oar):
    api.get(f"{API}/jobs", json=page())
    assert oar.live_jobs("alice") == []
    assert oar.jobs([]) == []
    assert len(api.calls) == 1, "no ids, no request: without a filter all live jobs would come"


def test_a_page_past_the_end_is_not_an_empty_cluster(api, oar):
    api.get(f"{API}/jobs", json={"detail": "Empty request"}, status=404)
    with pytest.raises(BadReply):
        oar.live_jobs("alice")
    with pytest.raises(BadReply):
        oar.check_health()


def test_jobs_by_id_in_chunks(api, oar):
    def reply(request: Any) -> tuple[int, dict[str, str], str]:
        ids = [int(i) for i in request.params["job_ids"]]
        assert len(ids) <= 500
        return 200, {}, json.dumps(page(*({**SHORT[0], "id": i} for i in ids if i != 424242)))

    api.add_callback("GET", f"{API}/jobs", callback=reply)
    found = oar.jobs([*range(1, 1201), 7, 424242], details=False)
    assert [job.id for job in found] == list(range(1, 1201)), "unknown ids are not in the list"
    assert len(api.calls) == 3


@pytest.mark.parametrize(
    "ask",
    [
        lambda oar: oar.jobs([5, 6], details=False),
        lambda oar: oar.array(9, details=False),
        lambda oar: oar.live_jobs("bob"),
        lambda oar: oar.live_jobs("alice", details=True),
    ],
)
def test_records_that_were_not_asked_for_are_a_bad_reply(api, oar, ask):
    api.get(f"{API}/jobs", json=page(*({**job, "array_id": 5} for job in SHORT)))
    with pytest.raises(BadReply):
        ask(oar)


def test_what_would_list_everybodys_jobs_is_not_asked(oar):
    for ask in (lambda: oar.array(0), lambda: oar.live_jobs(""), lambda: oar.delete("alice", 0)):
        with pytest.raises(ValueError):
            ask()


def test_an_unknown_job_is_told_from_a_blocked_api(api, oar):
    api.get(f"{API}/jobs/424242", **FAULT)
    healthy = api.get(f"{API}/jobs", json=page(), match=[query({"limit": "1"})])
    with pytest.raises(NotFound):
        oar.job(424242)
    assert healthy.call_count == 2
    api.replace("GET", f"{API}/jobs", **FAULT)
    with pytest.raises(BadReply):
        oar.job(424242)


def test_one_fault_of_a_healthy_api_does_not_make_a_job_unknown(api, oar):
    api.get(f"{API}/jobs/1", **FAULT)
    api.get(f"{API}/jobs", json=page())
    api.get(f"{API}/jobs/1", json=TERMINATED)
    assert oar.job(1).exit_code == 0


def test_a_job_that_is_another_is_a_bad_reply(api, oar):
    api.get(f"{API}/jobs/2", json=TERMINATED)
    with pytest.raises(BadReply):
        oar.job(2)


def test_health_is_asked_of_the_database(api, oar):
    api.get(f"{API}/jobs", json=page(TERMINATED, total=11023), match=[query({"limit": "1"})])
    oar.check_health()
    api.replace("GET", f"{API}/jobs", **FAULT)
    with pytest.raises(BadReply):
        oar.check_health()


def test_the_clock(api, oar):
    body = {"api_version": "3.0.0.dev11", "oar_version": "3.0.3dev", "api_timestamp": 1795336380.400991}
    api.get(f"{API}/", json=body)
    assert oar.clock() == 1795336380.400991
    api.replace("GET", f"{API}/", json={"hello": "world"})
    with pytest.raises(BadReply, match="api_timestamp"):
        oar.clock()


# --- submitting


def test_a_submission_on_the_wire(api, oar):
    api.post(f"{API}/jobs", json={"id": 5})
    assert oar.submit(SUBMISSION) == 5
    request = api.calls[0].request
    assert request.headers["X-Remote-Ident"] == "alice"
    assert json.loads(request.body) == {
        "name": "cigri.0a1b2c3d.7.0123456789abcdef0123",
        "command": "export CIGRI_CAMPAIGN_ID=7",
        "param_file": "CIGRI_JOB_ID=1; ./run a\nCIGRI_JOB_ID=2; ./run b",
        "resource": ["/resource_id=1,walltime=1:00:00"],
        "type": ["besteffort"],
        "directory": "/home/alice",
    }


def test_properties_and_project_only_when_set(api, oar):
    api.post(f"{API}/jobs", json={"id": 5})
    values = {"properties": "cluster='x'", "project": "p1", "types": (), "resources": ""}
    oar.submit(Submission(**{**{f: getattr(SUBMISSION, f) for f in SUBMISSION.__slots__}, **values}))
    body = json.loads(api.calls[0].request.body)
    assert (body["property"], body["project"], body["type"]) == ("cluster='x'", "p1", [])
    assert body["resource"] == ["walltime=1:00:00"]


@pytest.mark.parametrize("body", [{}, [], "5", {"id": "5"}, {"id": 0}, {"id": True}, {"id": None}, {"id": 5.0}])
def test_an_answer_without_an_id_settles_nothing(api, oar, body):
    api.post(f"{API}/jobs", json=body)
    with pytest.raises(NoAnswer):
        oar.submit(SUBMISSION)


@pytest.mark.parametrize(
    ("status", "detail", "error"),
    [
        (400, "There are not enough resources for your request", Refused),
        (400, "Bad resource SQL constraints request:bad sql here", Refused),
        (403, "A failed admission rule prevented submitting the job: [ADMISSION RULE] no", Refused),
        (403, "Not authenticated", TokenRefused),
        (401, "Could not validate credentials !!! ", TokenRefused),
        (422, [{"loc": ["body", "type"], "msg": "value is not a valid list"}], Refused),
        (501, "Not Implemented", Refused),
        (404, "Not Found", NoAnswer),
        (500, "x", NoAnswer),
        (503, "x", NoAnswer),
    ],
)
def test_a_submission_refused_or_not_answered(api, oar, status, detail, error):
    api.post(f"{API}/jobs", json={"detail": detail}, status=status)
    with pytest.raises(error) as caught:
        oar.submit(SUBMISSION)
    assert type(caught.value) is error
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x" * 61},
        {"name": "a b"},
        {"name": ""},
        {"lines": ("a\nb",)},
        {"lines": ("a\0",)},
        {"lines": ()},
        {"command": ""},
    ],
)
def test_a_submission_that_the_program_may_not_make(oar, change):
    fields = {field: getattr(SUBMISSION, field) for field in SUBMISSION.__slots__}
    with pytest.raises(ValueError):
        oar.submit(Submission(**{**fields, **change}))


def test_a_project_that_would_block_the_api_is_refused_here(oar):
    fields = {field: getattr(SUBMISSION, field) for field in SUBMISSION.__slots__}
    with pytest.raises(Refused):
        oar.submit(Submission(**{**fields, "project": "p" * 300}))


# --- deleting


@pytest.mark.parametrize(
    ("status", "words", "accepted"),
    [
        (0, "Deleting the job = 7 ...\n\nThe job(s) [7]  will be deleted in the near future.\n", True),
        (6, "Deleting the job = 7 ...\n#WARNING: Cannot frag 7 ; This job was already killed. -2\n", True),
        (1, "Deleting the job = 7 ...\n#ERROR: Cannot frag 7 ; You are not the right user. -1\n", False),
        (7, "Deleting the job = 7 ...\n#WARNING: Cannot frag 7 ; Job does not exist. -3\n", False),
    ],
)
def test_a_deletion_is_judged_by_its_exit_status(api, oar, status, words, accepted):
    api.delete(f"{API}/jobs/7", json={"id": 7, "cmd_output": words, "exit_status": status})
    assert oar.delete("alice", 7) == Deletion(7, accepted, " ".join(words.split()))


@pytest.mark.parametrize(
    "reply", [FAULT, {"json": {}}, {"json": {"exit_status": "0"}}, {"json": {}, "status": 404}, {"body": "<html>"}]
)
def test_a_deletion_may_stay_unanswered(api, oar, reply):
    api.delete(f"{API}/jobs/7", **reply)
    with pytest.raises(NoAnswer):
        oar.delete("alice", 7)
    assert len(api.calls) == 1


# --- resources and stress


def cluster_of(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**RESOURCE, "id": i, "network_address": f"node{(i + 1) // 2}", **change} for i, change in enumerate(changes, 1)
    ]


def test_resources_are_counted_in_units(api):
    found = cluster_of(
        {}, {}, {"state": "Suspected"}, {"state": "Absent"}, {"besteffort": "NO"}, {"drain": "YES"}, {"type": "licence"}
    )
    running = {**PREEMPTED, "state": "Running", "resources": [{"id": 1}]}
    api.get(f"{API}/resources", json=page(*found), match=[query({"detailed": "true", "limit": "500"})])
    api.get(f"{API}/jobs", json=page(running))
    by_id = Oar3(Transport("c1", API, Identity(), timeout=2))
    assert by_id.resources() == Resources(total=6, unavailable=2, free=2, usable_by_besteffort=2)
    assert set(api.calls[1].request.params["states"]) == set(records.BUSY_WORDS)
    by_node = Oar3(Transport("c1", API, Identity(), timeout=2), resource_unit="network_address")
    assert by_node.resources() == Resources(3, unavailable=1, free=1, usable_by_besteffort=1, unit_size=2.0)
    by_rack = Oar3(Transport("c1", API, Identity(), timeout=2), resource_unit="rack")
    with pytest.raises(BadReply, match="resource_unit"):
        by_rack.resources()


def test_many_resources_come_whole(api, oar):
    found = cluster_of(*({} for _ in range(600)))
    api.get(f"{API}/resources", json=page(*found[:500], total=600), match=[query({"detailed": "true", "limit": "500"})])
    api.get(f"{API}/resources", json=page(*found), match=[query({"detailed": "true", "limit": "850"})])
    api.get(f"{API}/jobs", json=page())
    assert oar.resources().free == 600


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ({"json": {"GLOBAL_STRESS": "1.18", "api_timestamp": 1.0}}, 1.18),
        ({"json": {"GLOBAL_STRESS": 0}}, 0.0),
        ({"json": {"GLOBAL_STRESS": "0,25"}}, 0.25),
        ({"json": {"detail": "Unable to retrieve STRESS_FACTOR"}, "status": 404}, None),
        (FAULT, None),
    ],
)
def test_stress_factor(api, oar, reply, value):
    api.get(f"{API}/stress_factor", **reply)
    assert oar.stress_factor() == value


@pytest.mark.parametrize("value", ["nan", "-1", "inf", "", "high", None, [], True])
def test_a_stress_factor_that_is_none(api, oar, value):
    api.get(f"{API}/stress_factor", json={"GLOBAL_STRESS": value})
    with pytest.raises(BadReply):
        oar.stress_factor()


def test_a_stress_factor_behind_a_broken_front_is_a_bad_reply(api, oar):
    api.get(f"{API}/stress_factor", body="<html>", status=502)
    with pytest.raises(BadReply):
        oar.stress_factor()


# --- files


def test_files(api, oar):
    path = "/home/alice/OAR.a+é.1.stderr"
    api.get(f"{API}/media", body=b"96\n\xff\n", match=[query({"path_filename": path, "tail": "5"})])
    assert oar.read_file("alice", path, tail=5) == b"96\n\xff\n"
    api.delete(f"{API}/media", status=204, match=[query({"path_filename": path})])
    oar.delete_file("alice", path)
    api.replace("DELETE", f"{API}/media", json={"detail": "File not found: //x"}, status=404)
    with pytest.raises(NotFound):
        oar.delete_file("alice", path)
    api.replace("DELETE", f"{API}/media", json={"detail": "File or directory is not writeable"}, status=403)
    with pytest.raises(Refused):
        oar.delete_file("alice", path)


@pytest.mark.parametrize("path", ["", "home/alice/x", "~/x", "/home/../etc/passwd", "/home/alice/a\0b"])
def test_only_absolute_paths_are_asked_for(oar, path):
    with pytest.raises(Refused):
        oar.read_file("alice", path)
    with pytest.raises(Refused):
        oar.delete_file("alice", path)


@pytest.mark.parametrize("path", ["/", "//", "/home", "/home/", "/home/."])
def test_a_top_directory_is_not_deleted(oar, path):
    with pytest.raises(Refused):
        oar.delete_file("alice", path)


def test_a_file_too_large_to_be_read_whole(api):
    api.get(f"{API}/media", body=b"x" * 2000)
    with pytest.raises(Refused, match="too large"):
        Oar3(Transport("c1", API, Identity(), timeout=2, max_reply=1000)).read_file("alice", "/home/alice/big")


# --- whatever comes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.sampled_from([*TERMINATED, "total", "items", "detail", "exit_status", "GLOBAL_STRESS", "api_timestamp"])


def damaged(record: dict[str, Any]) -> st.SearchStrategy[Any]:
    """The record with some fields replaced by anything or gone."""
    change = st.dictionaries(KEYS, JSON, max_size=3)
    return st.tuples(change, st.sets(KEYS, max_size=2)).map(
        lambda both: {k: v for k, v in {**record, **both[0]}.items() if k not in both[1]}
    )


@given(st.one_of(JSON, damaged(TERMINATED), damaged(PREEMPTED)))
def test_a_garbage_record_is_malformed_or_read(record):
    try:
        job = records.job(record)
    except records.Malformed:
        return
    assert job.id > 0 and "\0" not in job.command + job.message
    for number in (job.exit_code, job.walltime, job.array_index):
        assert number is None or abs(number) < 2**31  # an integer of the database
    assert max(job.start_time, job.stop_time, job.submission_time) < 2**33


@given(st.lists(st.one_of(damaged(TERMINATED), damaged(PREEMPTED)), max_size=3))
def test_a_page_is_read_as_its_records_are_one_by_one(found):
    def read(how: Callable[[], list[RemoteJob]]) -> list[RemoteJob] | None:
        try:
            return how()
        except ValueError:  # Malformed, or no JSON (NaN)
            return None

    body = json.dumps({"total": 3, "items": found}).encode()
    alone = read(lambda: [records.job(decode(json.dumps(each).encode())) for each in found])
    assert read(lambda: records.jobs(body)[1]) == alone


@pytest.mark.parametrize("odd", ["a\0b", "a\\u0000b", "half \ud800 of a pair", "\ud83d\ude00", "accents: éà"])
def test_odd_text_in_a_page_is_mended(odd):
    (job,) = records.jobs(json.dumps(page({"id": 1, "state": "Error", "message": odd})).encode())[1]
    assert job.message == odd.replace("\0", "\ufffd").replace("\ud800", "?").replace("\ud83d\ude00", "\U0001f600")


@pytest.mark.parametrize(
    ("field", "value"),
    [("exit_code", 2**31), ("walltime", 10**12), ("start_time", 10**15), ("stop_time", 1e300), ("id", 0)],
)
def test_what_the_database_would_not_take_is_malformed(field, value):
    with pytest.raises(records.Malformed):
        records.job({**TERMINATED, field: value})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(JSON, damaged(page(TERMINATED)), damaged(TERMINATED).map(page), damaged(RESOURCE).map(page)),
    status=st.sampled_from([200, 200, 200, 204, 302, 400, 403, 404, 422, 500]),
)
def test_whatever_an_api_answers_only_cluster_errors_leave(body, status):
    oar = Oar3(Transport("c1", API, Identity(), timeout=0.05))  # too short for a second try
    asks = [
        oar.clock,
        oar.check_health,
        oar.resources,
        oar.stress_factor,
        lambda: oar.job(1),
        lambda: oar.jobs([1]),
        lambda: oar.array(1),
        lambda: oar.live_jobs("alice"),
        lambda: oar.submit(SUBMISSION),
        lambda: oar.delete("alice", 1),
        lambda: oar.read_file("alice", "/a/b"),
        lambda: oar.delete_file("alice", "/a/b"),
    ]
    with responses.RequestsMock(assert_all_requests_are_fired=False) as api:
        text = json.dumps(body)
        for method in ("GET", "POST", "DELETE"):
            api.add(method, url=re.compile(".*"), body=text, status=status)
        for ask in asks:
            with contextlib.suppress(ClusterError):
                ask()


# --- connecting


def settings_of(**values: Any) -> ClusterSettings:
    return ClusterSettings(**{"name": "c1", "batch": "oar3", "api_url": API, **values})


def test_connect(api, tmp_path):
    token = tmp_path / "token"
    token.write_text("t.o.k\n")
    token.chmod(0o600)
    api.get(f"{API}/jobs", json=page())
    connect(settings_of(api_auth_header="X_REMOTE_IDENT")).live_jobs("alice")
    assert api.calls[0].request.headers["X-Remote-Ident"] == "alice"
    connect(settings_of(api_auth_type="jwt", token_file=str(token), api_auth_header="Authorization")).live_jobs("bob")
    headers = api.calls[1].request.headers
    assert (headers["Authorization"], headers["X-Remote-Ident"]) == ("Bearer t.o.k", "bob")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch": "oar2_5", "api_auth_type": "jwt"}, "knows no tokens"),
        ({"batch": "g5k"}, "not in this release"),
        ({"api_auth_type": "cert"}, "REST_CLIENT_CERTIFICATE_FILE"),
        ({"api_auth_type": "cert", "certificate_file": "/x", "api_url": "http://x"}, "https"),
        ({"api_auth_type": "password"}, "a user name and a password"),
        ({"api_auth_type": "password", "api_username": "a:b", "api_password": "sealed"}, "colon"),
        ({"api_auth_type": "kerberos"}, "only none, jwt, password and cert"),
        ({"api_auth_type": "jwt", "token_file": "relative"}, "absolute"),
        ({"token_file": "/x"}, "jwt only"),
        ({"api_auth_header": "a: b"}, "header"),
        ({"api_url": "oar.example"}, "URL"),
        ({"api_url": "ftp://x"}, "URL"),
        ({"api_url": "http://x:99999"}, "URL"),
        ({"api_url": "http://[::1"}, "URL"),
        ({"api_url": "http://x y"}, "URL"),
        ({"api_url": "http://u:p@x"}, "user name"),
        ({"api_url": "http://x?a=b"}, "query"),
    ],
)
def test_settings_that_cannot_be_used(values, words):
    with pytest.raises(ConfigError, match=words):
        connect(settings_of(**values))
