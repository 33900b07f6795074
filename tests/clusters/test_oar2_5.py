"""Oar25 against replies recorded from a real OAR 2.5.9 (Debian 12's packages)."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace
from typing import Any

import pytest
import responses
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from responses import matchers

from cigri.clusters import oar2_5, records
from cigri.clusters.base import Deletion, RemoteState, Resources, Submission
from cigri.clusters.credentials import Identity
from cigri.clusters.http import Transport
from cigri.clusters.oar2_5 import Oar25
from cigri.core.shell import command_line
from cigri.errors import BadReply, ClusterError, NoAnswer, NotFound, Refused, TokenRefused

API = "http://oar.example:6668/oarapi"
LIVE = "Waiting,Hold,toLaunch,toAckReservation,Launching,Running,Suspended,Resuming,Finishing,toError"

ROW = json.loads(
    '{"command":"export CIGRI_CAMPAIGN_ID=7 CIGRI_JOB_ID=1; /bin/echo a","Job_Id":507,"array_id":507,"properties":'
    '"((besteffort = \'YES\') AND desktop_computing = \'NO\') AND drain=\'NO\'","job_user":"alice","api_timestamp":'
    '1795354031,"launching_directory":"/home/alice","job_type":"PASSIVE","stderr_file":"OAR.cigri.0a1b2c3d.7.e5.'
    '%jobid%.stderr","walltime":300,"job_name":"cigri.0a1b2c3d.7.e5","queue_name":"besteffort","state":"Terminated",'
    '"id":507,"reservation":"None","stop_time":1795353945,"submission_time":1795353934,"stdout_file":'
    '"OAR.cigri.0a1b2c3d.7.e5.%jobid%.stdout","exit_code":0,"job_id":507,"message":"R=1,W=0:5:0,J=B","start_time":'
    '1795353936,"initial_request":"oarsub ...","assigned_moldable_job":507,"project":"default"}'
)
DETAILS = json.loads(
    '{"properties":"drain=\'NO\'","array_id":507,"scheduled_start":null,"command":"export CIGRI_CAMPAIGN_ID=7 '
    'CIGRI_JOB_ID=1; /bin/echo a","type":"PASSIVE","array_index":null,"api_timestamp":1795354032,"launching_directory":'
    '"/home/alice","stderr_file":"OAR.cigri.0a1b2c3d.7.e5.507.stderr","walltime":300,"queue":"besteffort","state":'
    '"Terminated","dependencies":[],"name":"cigri.0a1b2c3d.7.e5","submission_time":1795353934,"stdout_file":'
    '"OAR.cigri.0a1b2c3d.7.e5.507.stdout","exit_code":0,"cpuset_name":null,"id":507,"stop_time":1795353945,'
    '"reservation":"None","start_time":1795353936,"initial_request":"","events":[{"event_id":587,"date":1795353947,'
    '"description":"Scheduler priority for job 507 updated","to_check":"YES","job_id":507,"type":'
    '"SCHEDULER_PRIORITY_UPDATED_STOP"},{"event_id":571,"date":1795353935,"description":"x","to_check":"NO","job_id":'
    '507,"type":"SCHEDULER_PRIORITY_UPDATED_START"},{"event_id":579,"date":1795353945,"to_check":"NO","description":'
    '"[bipbip 507] Ask to change the job state","job_id":507,"type":"SWITCH_INTO_TERMINATE_STATE"}],"nodes":[{'
    '"network_address":"node1","status":"assigned"}],"resubmit_job_id":null,"project":"default","owner":"alice",'
    '"types":["besteffort"],"resources":[{"status":"assigned","id":1,"cpuset":"0","core":1,"network_address":"node1"}],'
    '"message":"R=1,W=0:5:0,J=B"}'
)
RESOURCE = json.loads(
    '{"api_timestamp":1795354032,"desktop_computing":"NO","state":"Alive","host":"node1","available_upto":2147483647,'
    '"besteffort":"YES","type":"default","state_num":1,"core":1,"network_address":"node1","id":1,"cpuset":0,'
    '"expiry_date":0,"deploy":"NO","drain":"NO"}'
)
WAITING = {**ROW, "state": "Waiting", "start_time": 0, "stop_time": 0, "exit_code": None, "walltime": None}
SUBMISSION = Submission(
    name="cigri.0a1b2c3d.7.0123456789abcdef0123",
    login="alice",
    command="export CIGRI_CAMPAIGN_ID=7",
    lines=("CIGRI_JOB_ID=1; ./run a", "CIGRI_JOB_ID=2; ./run $HOME"),
    resources="/core=1",
    walltime="1:00:00",
    directory="$HOME/results",
)


def page(*items: Any, total: int | None = None) -> dict[str, Any]:
    return {"total": len(items) if total is None else total, "offset": 0, "items": list(items), "links": []}


def query(**params: Any) -> Any:
    return matchers.query_param_matcher({key: str(value) for key, value in params.items()})


def fault(status: int, message: str, title: str = "Oar server error") -> dict[str, Any]:
    return {"json": {"code": status, "title": title, "message": message}, "status": status}


def failed(status: int, words: str) -> str:
    return f'Oarsub command exited with status {status}: {words}\n\nCmd:\noarsub  --name=\\"OAR_JOB_ID=5\\"'


@pytest.fixture
def oar() -> Oar25:
    return Oar25(Transport("c1", API, Identity(), timeout=2))


# --- reading jobs


def test_a_detailed_job(api, oar):
    api.get(f"{API}/jobs/507/details", json={**DETAILS, "array_index": 1, "resubmit_job_id": 0})
    job = oar.job(507)
    assert (job.id, job.state, job.word, job.exit_code) == (507, RemoteState.TERMINATED, "Terminated", 0)
    assert (job.array_id, job.array_index, job.queue, job.user) == (507, 1, "besteffort", "alice")
    assert (job.submission_time, job.start_time, job.stop_time) == (1795353934, 1795353936, 1795353945)
    assert (job.walltime, job.nodes, job.resources, job.detailed) == (300, ("node1",), 1, True)
    assert (job.name, job.stdout_file) == ("cigri.0a1b2c3d.7.e5", "OAR.cigri.0a1b2c3d.7.e5.507.stdout")
    assert [event.kind for event in job.events][1] == "SWITCH_INTO_TERMINATE_STATE"
    assert [event.to_check for event in job.events] == [False, False, True]
    headers = api.calls[0].request.headers
    assert headers["Accept"] == "application/json", "anything else is 406 there"
    assert headers["X-Remote-Ident"], "nobody in particular is shown no job: 401"


def test_a_row_of_the_table_says_the_same_as_the_details_but_for_what_is_not_in_it():
    row, job = oar2_5.table_job(ROW), oar2_5.job(DETAILS)
    assert not row.detailed
    assert structs.replace(row, detailed=True, nodes=job.nodes, resources=1, events=job.events) == job


def test_lists_say_in_full_what_they_want(api, oar):
    api.get(f"{API}/jobs/table", json=page(WAITING), match=[query(user="alice", state=LIVE, limit=500)])
    assert [job.state for job in oar.live_jobs("alice")] == [RemoteState.WAITING]
    api.get(f"{API}/jobs/table", json=page(ROW), match=[query(user="alice", limit=500, **{"from": 1795336000})])
    assert [job.id for job in oar.jobs_since("alice", 1795336000.9)] == [507]
    api.get(f"{API}/jobs/table", json=page(ROW), match=[query(user="alice", state="Error", limit=500)])
    assert [job.id for job in oar.error_jobs("alice")] == [507]
    assert {word for word, state in records.STATES.items() if not state.final} == set(LIVE.split(","))


def test_an_empty_list_has_no_time_in_it(api, oar):
    api.get(f"{API}/jobs/table", json={"items": [], "total": 0, "links": [], "offset": 0})
    assert oar.live_jobs("alice") == []
    assert oar.jobs([]) == []
    assert len(api.calls) == 1


def test_details_are_asked_for_only_of_jobs_that_have_begun(api, oar):
    command = ROW["command"]
    rows = [{**WAITING, "id": i, "command": command.replace("=1;", f"={i};")} for i in (1, 2)]
    rows.append({**ROW, "id": 3, "state": "Running", "command": "export CIGRI_CAMPAIGN_ID=7 CIGRI_JOB_ID=3; x"})
    api.get(f"{API}/jobs/table", json=page(*rows), match=[query(array=507, limit=500)])
    running = {**DETAILS, "id": 3, "state": "Running", "exit_code": None, "command": rows[2]["command"]}
    api.get(f"{API}/jobs/details", json=page(running), match=[query(ids=3, limit=500)])
    found = oar.array(507)
    assert [(job.id, job.detailed, job.nodes) for job in found] == [(1, True, ()), (2, True, ()), (3, True, ("node1",))]


def test_jobs_by_id_in_chunks_and_their_details_in_smaller_ones(api, oar):
    def reply(name: str, record: dict[str, Any], most: int) -> Any:
        def answer(request: Any) -> tuple[int, dict[str, str], str]:
            ids = [int(i) for i in request.params["ids"].split(":")]
            assert len(ids) <= most, name
            items = [{**record, "id": i, "command": f"job {i}"} for i in ids if i != 424242]
            return 200, {}, json.dumps(page(*items))

        return answer

    api.add_callback("GET", f"{API}/jobs/table", callback=reply("table", ROW, 500))
    api.add_callback("GET", f"{API}/jobs/details", callback=reply("details", DETAILS, 50))
    found = oar.jobs([*range(1, 601), 7, 424242])
    assert [job.id for job in found] == list(range(1, 601)) and all(job.detailed for job in found)
    assert len(api.calls) == 2 + 12


def test_a_restart_is_told_only_when_the_job_is_asked_for_by_itself(api, oar):
    """resubmit_job_id is null in lists."""
    rows = [{**ROW, "id": i, "array_id": 518, "state": "Error", "exit_code": None} for i in (518, 520)]
    api.get(f"{API}/jobs/table", json=page(*rows, {**ROW, "id": 519, "command": "ls", "array_id": 518}))
    errors = [{**DETAILS, "id": row["id"], "array_id": 518, "state": "Error", "exit_code": None} for row in rows]
    other = {**DETAILS, "id": 519, "array_id": 518, "command": "ls"}
    api.get(f"{API}/jobs/details", json=page(*errors, other), match=[query(ids="518:520:519", limit=500)])
    api.get(f"{API}/jobs/520/details", json={**errors[1], "resubmit_job_id": 518, "array_index": 1})
    assert {job.id: job.resubmit_job_id for job in oar.array(518)} == {518: 0, 520: 518, 519: 0}


@pytest.mark.parametrize(
    "details",
    [page(), page({**DETAILS, "id": 8}), page({key: value for key, value in DETAILS.items() if key != "events"})],
)
def test_details_of_other_jobs_or_none_are_no_details(api, oar, details):
    api.get(f"{API}/jobs/table", json=page(ROW))
    api.get(f"{API}/jobs/details", json=details)
    with pytest.raises(BadReply, match="details"):
        oar.jobs([507])


def test_lists_of_others_or_in_part_are_refused(api, oar):
    api.get(f"{API}/jobs/table", json=page({**ROW, "job_user": "bob"}))
    with pytest.raises(BadReply, match="other users"):
        oar.live_jobs("alice")
    with pytest.raises(BadReply, match="other arrays"):
        oar.array(9, details=False)
    with pytest.raises(BadReply, match="not asked for"):
        oar.jobs([9], details=False)
    api.replace("GET", f"{API}/jobs/table", json=page(ROW, total=2))
    with pytest.raises(BadReply, match="1 of 2"):
        oar.live_jobs("alice")
    with pytest.raises(ValueError):
        oar.live_jobs("")


def test_a_list_that_had_changed_before_it_was_counted_is_asked_for_again(api, oar):
    for total in (3, 2, 1):
        api.get(f"{API}/jobs/table", json=page(ROW, total=total))
    assert len(oar.live_jobs("alice")) == 1
    assert len(api.calls) == 3


def test_an_unknown_job_is_unknown_only_to_a_healthy_cluster(api, oar):
    missing = fault(404, "Job not found", "Job not found")
    api.get(f"{API}/jobs/9/details", **missing)
    api.get(f"{API}/jobs", json=page(), match=[query(state="Waiting", limit=1)])
    resources = api.get(f"{API}/resources", json=page(RESOURCE, total=8), match=[query(limit=1)])
    with pytest.raises(NotFound, match="does not know the job 9"):
        oar.job(9)
    with pytest.raises(NotFound):
        oar.record(9)
    api.remove(resources)
    api.get(f"{API}/resources", json=page(), match=[query(limit=1)])
    with pytest.raises(BadReply, match="no resources at all"):
        oar.job(9)


def test_a_database_that_cannot_be_reached_is_no_health(api, oar):
    api.get(f"{API}/jobs", **fault(500, "Cannot connect to the database"))
    with pytest.raises(BadReply, match="Cannot connect to the database"):
        oar.check_health()


def test_a_record_comes_in_the_clusters_words(api, oar):
    api.get(f"{API}/jobs/507/details", json=DETAILS)
    assert oar.record(507) == DETAILS
    api.replace("GET", f"{API}/jobs/507/details", json={**DETAILS, "id": 508})
    with pytest.raises(BadReply, match="not about job 507"):
        oar.job(507)


# --- submitting


def test_a_submission(api, oar):
    """K4."""
    body = {
        "name": SUBMISSION.name,
        "command": "export CIGRI_CAMPAIGN_ID=7",
        "param_file": "CIGRI_JOB_ID=1; ./run a\nCIGRI_JOB_ID=2; ./run $HOME",
        "resource": ["/core=1,walltime=1:00:00"],
        "type": ["besteffort"],
        "directory": "$HOME/results",
        "property": "host='\\$x'",
        "project": "vision",
    }
    answer = {"id": 507, "cmd_output": "OAR_JOB_ID=507\nOAR_JOB_ID=508\nOAR_ARRAY_ID=507\n", "api_timestamp": 1}
    api.post(f"{API}/jobs", json=answer, status=201, match=[matchers.json_params_matcher(body)])
    assert oar.submit(replace(SUBMISSION, properties="host='$x'", project="vision")) == 507
    assert api.calls[0].request.headers["X-Remote-Ident"] == "alice"


def test_only_home_of_the_directory_is_left_to_the_shell_on_the_front_end(api, oar):
    api.post(f"{API}/jobs", json={"id": 1}, status=201)
    oar.submit(replace(SUBMISSION, directory="$HOME/$HOMELAND/a$b", resources="/core=$n", types=("a$b",)))
    sent = json.loads(api.calls[0].request.body)
    assert sent["directory"] == r"$HOME/\$HOMELAND/a\$b"
    assert (sent["resource"], sent["type"]) == ([r"/core=\$n,walltime=1:00:00"], [r"a\$b"])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"directory": "/a`id`"}, Refused),
        ({"directory": "/a\\b"}, Refused),
        ({"properties": "a='\n'"}, Refused),
        ({"project": "p" * 256}, Refused),
        ({"login": "first.last"}, TokenRefused),
        ({"login": "a b"}, TokenRefused),
        ({"lines": ("echo # x",)}, ValueError),
        ({"lines": (" ",)}, ValueError),
        ({"lines": ("echo é",)}, ValueError),
    ],
)
def test_what_would_be_garbled_never_leaves(api, oar, change, error):
    with pytest.raises(error):
        oar.submit(replace(SUBMISSION, **change))
    assert not api.calls


def test_whatever_is_in_a_task_can_be_sent(api, oar):
    api.post(f"{API}/jobs", json={"id": 1}, status=201)
    odd = ["#", "-n 'a b'", 'back\\slash "q"', "é€", "$HOME `id`", "", "\t"]
    lines = [command_line(key, "./run", line) for key, line in enumerate(odd, 1)]
    assert oar.submit(replace(SUBMISSION, lines=lines)) == 1
    assert json.loads(api.calls[0].request.body)["param_file"].split("\n") == lines


SCARCE = "There are not enough resources for your request\nOAR_JOB_ID=-5\n[ERROR] Oarsub failed, please verify your"
CHATTER = "[ADMISSION RULE] Modify resource description with type constraints\n"


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (400, failed(8, CHATTER + SCARCE), "There are not enough resources for your request"),
        (500, failed(255, "/!\\ Cannot recognize the resource description : core=abc\n"), "Cannot recognize"),
        (500, failed(254, "[ADMISSION RULE] Error: unknown job type: x\n"), "unknown job type: x"),
        (500, failed(254, "[ADMISSION RULE] root and oar users are not allowed to submit jobs.\n"), "root and oar"),
        (500, failed(1, "bash: line 1: cd: /home/x: No such file or directory"), "No such file"),
        (500, failed(1, "Unknown option: bogus"), "Unknown option"),
        (400, failed(8, 'DBD::Pg::st execute failed: ERROR: column "gpu" does not exist\n' + SCARCE), "gpu"),
        (400, "A job must have a script, a command (script_path) or must be a reservation!", "must have a script"),
    ],
)
def test_refusals_are_told_by_their_text(api, oar, status, message, told):
    api.post(f"{API}/jobs", **fault(status, message))
    with pytest.raises(Refused, match=told) as caught:
        oar.submit(SUBMISSION)
    assert type(caught.value) is Refused
    assert "Cmd:" not in str(caught.value) and "Modify" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        # The jobs are there, whatever it says: the server is only not told of them.
        (500, failed(9, "OAR_JOB_ID=7\n[ERROR] Cannot connect to executor localhost:6666. Job is killed.\n")),
        (400, failed(8, "OAR_JOB_ID=7\n" + SCARCE)),
        (400, failed(8, "DBD::Pg::st execute failed: server closed the connection unexpectedly\n" + SCARCE)),
        (500, failed(255, "Died at /usr/lib/oar/oarsub line 1.")),
        (500, "Job submitted but the id could not be parsed."),
        (503, "x"),
        (404, "No way to handle your request /jobs"),
    ],
)
def test_what_may_have_made_jobs_is_looked_up(api, oar, status, message):
    api.post(f"{API}/jobs", **fault(status, message))
    with pytest.raises(NoAnswer):
        oar.submit(SUBMISSION)


@pytest.mark.parametrize("body", [{}, {"id": "507"}, {"id": 0}, [], "507"])
def test_an_answer_without_an_id_is_no_answer(api, oar, body):
    api.post(f"{API}/jobs", json=body, status=201)
    with pytest.raises(NoAnswer, match="without a job id"):
        oar.submit(SUBMISSION)


def test_an_unknown_user_is_about_who_asks(api, oar):
    api.post(f"{API}/jobs", **fault(401, "Oardodo error: 52: [OARDODO] ERROR: Cannot get information regarding", ""))
    with pytest.raises(TokenRefused, match="Oardodo"):
        oar.submit(SUBMISSION)


# --- deletions


def test_deletions(api, oar):
    said = "Deleting the job = 30 ...REGISTERED.\nThe job(s) [ 30 ] will be deleted in the near future.\n"
    api.delete(f"{API}/jobs/30", json={"id": "30", "status": "registered", "oardel_output": said}, status=202)
    assert oar.delete("alice", 30) == Deletion(30, accepted=True, message=" ".join(said.split()))


@pytest.mark.parametrize(
    ("words", "accepted"),
    [("This job was already killed.", True), ("You are not the right user.", False), ("Something else.", False)],
)
def test_refused_deletions_are_told_apart_by_their_text_alone(api, oar, words, accepted):
    text = f"Oardel command exited with status 256: Deleting the job = 30 ...ERROR.\nCannot frag 30 ; {words}\n. (...)"
    api.delete(f"{API}/jobs/30", **fault(400, text, "Oardel error"))
    deletion = oar.delete("alice", 30)
    assert deletion.accepted is accepted and words in deletion.message


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (fault(401, "A suitable authentication must be done before deleting jobs"), TokenRefused),
        (fault(404, "No way to handle your request"), NoAnswer),
        (fault(500, "x"), NoAnswer),
        ({"json": {"id": "30"}, "status": 202}, NoAnswer),
        ({"body": "<html>", "status": 202}, NoAnswer),
    ],
)
def test_deletions_without_a_word(api, oar, reply, error):
    api.delete(f"{API}/jobs/30", **reply)
    with pytest.raises(error):
        oar.delete("alice", 30)


def test_nobody_is_deleted_for_under_half_a_name(api, oar):
    with pytest.raises(TokenRefused, match="first.last"):
        oar.delete("first.last", 30)
    with pytest.raises(ValueError):
        oar.delete("alice", 0)


# --- sensors, files


def test_resources(api, oar):
    found = [{**RESOURCE, "id": i, "host": f"node{i % 2}"} for i in range(1, 9)]
    found[7]["state"] = "Absent"
    api.get(f"{API}/resources/details", json=page(*found))
    holders = [{"resource_id": str(i), "jobs": [507] if i in (1, 2) else []} for i in range(1, 9)]
    api.get(f"{API}/resources/resource_id/jobs", json={"items": holders, "links": [], "api_timestamp": 1})
    assert oar.resources() == Resources(total=8, unavailable=1, free=5, usable_by_besteffort=7)
    by_host = Oar25(Transport("c1", API, Identity(), timeout=2), resource_unit="host")
    assert by_host.resources() == Resources(2, unavailable=0, free=0, usable_by_besteffort=2, unit_size=4.0)
    for odd in ({}, {"items": [{}]}, {"items": [{"resource_id": "x", "jobs": []}]}):
        api.replace("GET", f"{API}/resources/resource_id/jobs", json=odd)
        with pytest.raises(BadReply):
            oar.resources()


@pytest.mark.parametrize(
    ("body", "stress"),
    [
        ({"GLOBAL_STRESS": "0.9", "LOAD_1MN": "6.46", "api_timestamp": 1}, 0.9),
        ({"GLOBAL_STRESS": "4,5"}, 4.5),
        ({"api_timestamp": 1, "links": []}, None),  # the script is not there
    ],
)
def test_stress_factor(api, oar, body, stress):
    api.get(f"{API}/stress_factor", json=body)
    assert oar.stress_factor() == stress


def test_a_stress_factor_that_is_no_number(api, oar):
    api.get(f"{API}/stress_factor", json={"GLOBAL_STRESS": "high"})
    with pytest.raises(BadReply, match="GLOBAL_STRESS"):
        oar.stress_factor()


def test_the_clock(api, oar):
    api.get(f"{API}/", json={"api_timestamp": 1795336923, "oar_version": "2.5.9 (Canicule)"})
    assert oar.clock() == 1795336923


def test_files(api, oar):
    api.get(f"{API}/media/home/alice/OAR.1.stdout", body=b"96\n\xff\n", match=[query(tail=5)])
    assert oar.read_file("alice", "/home//alice/OAR.1.stdout", tail=5) == b"96\n\xff\n"
    api.get(f"{API}/media/home/alice/%C3%A9", body=b"x", match=[query()])
    assert oar.read_file("alice", "/home/alice/é") == b"x"
    api.delete(f"{API}/media/home/alice/old", status=204)
    oar.delete_file("alice", "/home/alice/old")
    api.get(f"{API}/media/none", **fault(404, "File not found: /none", "Not found"))
    with pytest.raises(NotFound):
        oar.read_file("alice", "/none")


@pytest.mark.parametrize(
    "path", ["/home/alice/a b", "/a;id", "/a$(id)", "/a`id`", "/a|b", "/a\nb", "/a*", "/a'b", "/~/x", "/x/-rf", "x"]
)
def test_paths_that_a_shell_would_make_something_of_never_leave(api, oar, path):
    for ask in (oar.read_file, oar.delete_file):
        with pytest.raises(Refused):
            ask("alice", path)
    with pytest.raises(TokenRefused):
        oar.read_file("first.last", "/home/first/x")
    assert not api.calls


def test_there_are_no_tokens(oar):
    with pytest.raises(Refused, match="no tokens"):
        oar.renew_token("alice")


# --- odd replies

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(DETAILS)), inner, max_size=5),
    max_leaves=20,
)


REPLIES = st.one_of(
    JSON,
    st.tuples(st.sampled_from(sorted({*DETAILS, *ROW})), JSON).flatmap(
        lambda odd: st.sampled_from(
            [{**DETAILS, odd[0]: odd[1]}, page({**DETAILS, odd[0]: odd[1]}), page({**ROW, odd[0]: odd[1]})]
        )
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=REPLIES, status=st.sampled_from([200, 200, 200, 202, 400, 404, 500]))
def test_whatever_an_api_answers_only_cluster_errors_leave(body, status):
    oar = Oar25(Transport("c1", API, Identity(), timeout=0.05))  # too short for a second try
    asks = [
        oar.clock,
        oar.check_health,
        oar.resources,
        oar.stress_factor,
        lambda: oar.job(507),
        lambda: oar.jobs([507]),
        lambda: oar.array(507),
        lambda: oar.live_jobs("alice", details=True),
        lambda: oar.submit(SUBMISSION),
        lambda: oar.delete("alice", 507),
        lambda: oar.read_file("alice", "/a/b"),
        lambda: oar.delete_file("alice", "/a/b"),
    ]
    with responses.RequestsMock(assert_all_requests_are_fired=False) as api:
        for method in ("GET", "POST", "DELETE"):
            api.add(method, url=re.compile(".*"), body=json.dumps(body), status=status)
        for ask in asks:
            with contextlib.suppress(ClusterError):
                ask()
