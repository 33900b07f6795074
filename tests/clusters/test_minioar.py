"""minioar answers as the recorded OAR3 does, and runs real processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from cigri.local import processes
from cigri.local.minioar.launch import Minioar

Json = Any
FINAL = ("Terminated", "Error")


class Client:
    """One connection to a minioar."""

    def __init__(self, cluster: Minioar, home: Path) -> None:
        self.cluster = cluster
        self.home = home
        self.session = requests.Session()
        self.session.trust_env = False

    def ask(self, method: str, path: str, body: object = None, **query: object) -> requests.Response:
        return self.session.request(method, self.cluster.url + path, json=body, params=query, timeout=10)

    def get(self, path: str, **query: object) -> Json:
        reply = self.ask("GET", path, **query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def post(self, path: str, body: object) -> Json:
        reply = self.ask("POST", path, body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def submit(self, command: str, **fields: object) -> int:
        return int(self.post("/jobs", {"command": command, "directory": str(self.home), **fields})["id"])

    def job(self, number: int) -> Json:
        return self.get(f"/jobs/{number}", details="true")

    def wait(self, number: int, *states: str) -> Json:
        assert processes.until(lambda: self.job(number)["state"] in (states or FINAL), 10), self.job(number)
        return self.job(number)

    def run(self, command: str, **fields: object) -> Json:
        return self.wait(self.submit(command, **fields))

    def output(self, job: Json) -> str:
        return (Path(job["launching_directory"]) / job["stdout_file"]).read_text()


def kinds(job: Json) -> list[str]:
    return [event["type"] for event in job["events"]]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Client]]:
    clients = []

    def start(slots: int = 4, **settings: Any) -> Client:
        folder = tmp_path_factory.mktemp("cluster")
        home = tmp_path_factory.mktemp("home")
        cluster = Minioar(folder, slots, round=0.05, die_with_parent=True, environment={"HOME": str(home)}, **settings)
        cluster.start()
        clients.append(Client(cluster, home))
        return clients[-1]

    yield start
    for client in clients:
        client.session.close()
        client.cluster.stop()


@pytest.fixture(scope="module")
def client(start: Callable[..., Client]) -> Client:
    return start()


@pytest.fixture(scope="module")
def two_slots(start: Callable[..., Client]) -> Client:
    return start(2)


def test_a_job_runs_and_ends_as_recorded(client: Client) -> None:
    job = client.run("echo out; echo err >&2; exit 3", name="cigri.42", resource=["/resource_id=1,walltime=0:1:0"])
    assert (job["state"], job["exit_code"], job["exit_status_code"]) == ("Terminated", 768, 3)
    assert kinds(job) == ["SWITCH_INTO_TERMINATE_STATE"]
    assert job["stdout_file"] == f"OAR.cigri.42.{job['id']}.stdout"
    assert client.output(job) == "out\n"
    assert (client.home / job["stderr_file"]).read_text() == "err\n"
    assert (job["array_id"], job["array_index"], job["walltime"]) == (job["id"], 1, 60)
    assert job["submission_time"] <= job["start_time"] <= job["stop_time"]
    assert len(job["resources"]) == len(job["nodes"]) == 1
    names = ["id", "name", "state", "user", "exit_code", "queue_name", "submission_time", "exit_status_code"]
    assert list(client.get("/jobs", job_ids=job["id"])["items"][0]) == names


@pytest.mark.parametrize(
    ("command", "raw"),
    [("exit 0", 0), ("exit 99", 25344), ("nosuchcommand", 32512), ("kill -9 $$", 9), ("kill 0", 15), ("exit 256", 0)],
)
def test_raw_wait_statuses(client: Client, command: str, raw: int) -> None:
    job = client.run(command)
    assert (job["state"], job["exit_code"]) == ("Terminated", raw)


def test_null_fields_are_absent(client: Client) -> None:
    held = client.job(client.submit("true", hold=True))
    assert held["state"] == "Hold"
    assert not {"name", "exit_code", "exit_status_code", "walltime", "types", "env"} & set(held)
    assert held["actual_resources"] == "" and held["start_time"] == 0
    assert client.post(f"/jobs/{held['id']}/resumptions/new", None)["exit_status"] == 0
    assert client.wait(held["id"])["exit_code"] == 0


def test_lines_are_appended_to_the_command_and_a_last_newline_makes_one_job_more(client: Client) -> None:
    array = client.submit("printf '[%s]'", param_file="a b\n'$HOME' \"$OAR_ARRAY_INDEX\"\n\\\\x\n")
    jobs = client.get("/jobs", array=array, details=1)["items"]
    assert [job["array_index"] for job in jobs] == [1, 2, 3, 4]
    assert jobs[0]["command"] == "printf '[%s]' a b"
    assert [client.output(client.wait(job["id"])) for job in jobs] == ["[a][b]", "[$HOME][2]", "[x]", "[]"]


def test_an_array_without_lines_has_the_environment_of_oar(client: Client) -> None:
    array = client.submit("echo $OAR_JOB_ID $OAR_ARRAY_ID $OAR_ARRAY_INDEX $HOME; cat $OAR_NODEFILE; pwd", array=2)
    second = client.wait(array + 1)
    node = second["nodes"][0]["network_address"]
    assert client.output(second) == f"{array + 1} {array} 2 {client.home}\n{node}\n{client.home}\n"


def test_home_is_replaced_in_command_and_directory(client: Client) -> None:
    (client.home / "sub").mkdir()
    job = client.run("echo '$HOME'; pwd", directory="$HOME/sub")
    assert client.output(job) == f"{client.home}\n{client.home}/sub\n"


def test_what_cannot_start_ends_in_error(client: Client) -> None:
    lost = client.run("true", directory="/nowhere")
    assert lost["state"] == "Error" and "exit_code" not in lost
    assert set(kinds(lost)) == {"WORKING_DIRECTOR", "SWITCH_INTO_ERROR_STATE"}
    assert "OUTPUT_FILES" in kinds(client.run("true", stdout="nowhere/x"))
    for poison in ("echo it\\'s", "echo \\"):
        job = client.run(poison)
        assert job["state"] == "Error" and "LAUNCHING_OAREXEC_TIMEOUT" in kinds(job)


def test_the_command_gets_nothing_to_read_and_leaves_nothing_behind(client: Client) -> None:
    job = client.run("cat; (sleep 300; true) & echo $!")
    left = int(client.output(job))
    assert processes.until(lambda: not processes.mark(left), 5)


def test_lists(client: Client) -> None:
    array = client.submit("true", param_file="1\n2\n3", name="listed")
    for number in range(array, array + 3):
        client.wait(number)
    user = client.job(array)["user"]
    assert client.get("/jobs", user="nobody-at-all") == {"total": 0, "offset": 0, "items": []}
    assert array not in [job["id"] for job in client.get("/jobs", user=user)["items"]]
    since = client.job(array)["submission_time"] - 1
    dated = client.get("/jobs", user=user, start_time=since, details=1)["items"]
    assert {array, array + 1, array + 2} <= {job["id"] for job in dated if job.get("name") == "listed"}
    assert client.get("/jobs", start_time=int(time.time()) + 100)["total"] == 0
    ids = [array, array + 1, array + 2, 987654321]
    page = client.get("/jobs", job_ids=ids, limit=1, offset=1)
    assert (page["total"], [job["id"] for job in page["items"]]) == (3, [array + 1])
    assert client.get("/jobs", states=["Terminated", "Error"], limit=0)["items"] == []
    assert client.ask("GET", "/jobs", job_ids=ids, offset=3).json() == {"detail": "Empty request"}
    assert client.ask("GET", "/jobs", job_ids=ids, offset=3).status_code == 404
    assert client.ask("GET", "/jobs", limit=-1).status_code == 500
    assert client.ask("GET", "/jobs", states="Nope").status_code == 500
    assert client.ask("GET", "/jobs", job_ids="1,2").status_code == 422
    assert client.ask("GET", "/jobs/987654321").status_code == 500
    assert client.ask("GET", "/jobs/abc").status_code == 422
    assert client.get("/jobs/987654321/events")["total"] == 0


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"type": "besteffort"}, 422),
        ({"resource": "/resource_id=1"}, 422),
        ({"command": None}, 422),
        ({"command": ""}, 501),
        ({"name": "x" * 101}, 501),
        ({"name": "a b"}, 501),
        ({"type": ["foo"]}, 403),
        ({"queue": "nope"}, 400),
        ({"resource": ["/resource_id=99"]}, 400),
        ({"resource": ["/resource_id=99"], "param_file": "1\n2"}, 500),
        ({"resource": ["/foo=1"]}, 400),
        ({"resource": ["blah"]}, 500),
        ({"resource": ["/core=1,walltime=abc"]}, 500),
    ],
)
def test_refusals(client: Client, fields: dict[str, object], status: int) -> None:
    before = client.get("/jobs", states=["Terminated", "Error", "Waiting", "Running"], limit=1)["total"]
    assert client.ask("POST", "/jobs/", {"command": "true", **fields}).status_code == status
    assert client.get("/jobs", states=["Terminated", "Error", "Waiting", "Running"], limit=1)["total"] == before


def test_unknown_fields_are_dropped_in_silence(client: Client) -> None:
    job = client.run("true", types=["besteffort"], workdir="/")
    assert (job["queue_name"], job["properties"]) == ("default", "drain='NO'")
    job = client.run("true", type=["besteffort"])
    assert (job["queue_name"], job["types"]) == ("besteffort", {"besteffort": True})
    assert job["properties"].startswith("(besteffort = 'YES')")


def test_deletion_always_says_200(client: Client) -> None:
    number = client.submit("exec sleep 300")
    client.wait(number, "Running")
    foreign = client.session.delete(
        f"{client.cluster.url}/jobs/{number}", headers={"X-Remote-Ident": "somebody"}, timeout=10
    )
    assert (foreign.status_code, foreign.json()["exit_status"]) == (200, 1)
    first = client.ask("DELETE", f"/jobs/{number}").json()
    assert first["exit_status"] == 0
    told = f"Deleting the job = {number} ...\n\nThe job(s) [{number}]  will be deleted in the near future.\n"
    assert first["cmd_output"] == told
    again = client.ask("DELETE", f"/jobs/{number}").json()
    assert again["exit_status"] == 6 and again["cmd_output"].endswith(
        "This job was already killed. -2\nThe job(s) []  will be deleted in the near future.\n"
    )
    job = client.wait(number)
    assert job["state"] == "Error" and "exit_code" not in job
    assert kinds(job) == ["FRAG_JOB_REQUEST", "SEND_KILL_JOB", "SWITCH_INTO_ERROR_STATE"]
    assert client.ask("DELETE", "/jobs/987654321").json()["exit_status"] == 7
    ended = client.run("true")["id"]
    assert client.ask("POST", f"/jobs/{ended}/deletions/new").json()["exit_status"] == 0
    assert client.job(ended)["state"] == "Terminated" and "FRAG_JOB_REQUEST" in kinds(client.job(ended))


def test_a_waiting_array_is_deleted(client: Client) -> None:
    array = client.submit("true", array=3, hold=True)
    assert client.ask("DELETE", f"/jobs/{array}", array="true").json()["exit_status"] == 0
    job = client.wait(array + 2)
    assert (job["state"], job["start_time"], job["stop_time"]) == ("Error", 0, 0)
    assert (job["message"], kinds(job)) == ("Job killed by Leon directly", ["FRAG_JOB_REQUEST"])
    assert array in [item["id"] for item in client.get("/jobs", start_time=job["submission_time"])["items"]]


def test_a_job_over_its_walltime_is_killed_with_all_its_processes(client: Client) -> None:
    job = client.run("trap '' TERM; sleep 300 & echo $!; wait; sleep 300", resource=["/core=1,walltime=0:0:1"])
    assert job["state"] == "Error" and "exit_code" not in job
    assert kinds(job)[:3] == ["FRAG_JOB_REQUEST", "WALLTIME", "SEND_KILL_JOB"]
    assert processes.until(lambda: not processes.mark(int(client.output(job))), 5)


def test_normal_jobs_take_the_place_of_besteffort_ones(two_slots: Client) -> None:
    first = two_slots.submit("sleep 300", type=["besteffort"])
    two_slots.wait(first, "Running")
    last = two_slots.submit("sleep 300", type=["besteffort"])
    two_slots.wait(last, "Running")
    normal = two_slots.run("echo $OAR_JOB_ID")
    assert normal["exit_code"] == 0
    job = two_slots.wait(last)
    assert job["state"] == "Error" and "exit_code" not in job
    assert kinds(job) == ["BESTEFFORT_KILL", "FRAG_JOB_REQUEST", "SEND_KILL_JOB", "SWITCH_INTO_ERROR_STATE"]
    assert two_slots.job(first)["state"] == "Running"
    assert two_slots.post("/minioar/kill_besteffort", {"count": 5}) == {"killed": [first]}
    assert "BESTEFFORT_KILL" in kinds(two_slots.wait(first))


def test_a_freed_slot_is_filled_in_the_order_of_submission(two_slots: Client) -> None:
    array = two_slots.submit("sleep 0.1", array=6)
    since = two_slots.get("/minioar/journal")["next"]
    for number in range(array, array + 6):
        two_slots.wait(number)
    seen = two_slots.get("/minioar/journal", since=since)["items"]
    starts = [item["job_id"] for item in seen if item["what"] == "start"]
    assert starts == sorted(starts)
    running = 0
    for item in seen:
        running += 1 if item["what"] == "start" else -1
        assert running <= 2


def test_whole_nodes(start: Callable[..., Client]) -> None:
    client = start(4, nodes=2)
    job = client.run("sort -u $OAR_NODEFILE | wc -l; wc -l < $OAR_NODEFILE", resource=["/nodes=2"])
    assert client.output(job) == "2\n4\n"
    assert len(client.run("true", resource=["/nodes=1/core=1"])["resources"]) == 1
    assert client.ask("POST", "/jobs", {"command": "true", "resource": ["/nodes=3"]}).status_code == 400
    client.post("/minioar/suspend_nodes", {"nodes": [job["nodes"][0]["network_address"]]})
    assert client.ask("POST", "/jobs", {"command": "true", "resource": ["/nodes=2"]}).status_code == 400
    states = [item["state"] for item in client.get("/resources")["items"]]
    assert states == ["Suspected", "Suspected", "Alive", "Alive"]
    assert client.get("/resources", detailed="true", limit=1)["items"][0]["state_num"] == 3


def test_a_resubmitted_job_gets_a_new_id_and_keeps_its_array(client: Client) -> None:
    number = client.submit("mkdir once 2> /dev/null && exec sleep 300")
    client.wait(number, "Running")
    new = client.post("/minioar/resubmit", {"job_id": number, "hidden_seconds": 0.5})["id"]
    assert new not in [job["id"] for job in client.get("/jobs", array=number)["items"]]
    old = client.wait(number)
    assert old["state"] == "Error" and "RESUBMIT_JOB_AUTOMATICALLY" in kinds(old)
    told = next(event for event in old["events"] if event["type"] == "RESUBMIT_JOB_AUTOMATICALLY")
    assert f"((0, ''), {new})" in told["description"]
    follower = client.wait(new)
    assert follower["exit_code"] == 256
    assert (follower["resubmit_job_id"], follower["array_id"], follower["array_index"]) == (number, number, 1)
    assert follower["stdout_file"] == f"OAR.{new}.stdout"
    processes.until(lambda: client.get("/jobs", array=number)["total"] == 2, 2)
    assert [job["id"] for job in client.get("/jobs", array=number)["items"]] == [number, new]


def fault(client: Client, kind: str, **more: object) -> None:
    client.post("/minioar/faults", {"faults": [{"on": "POST /jobs", "kind": kind, "count": 1, **more}]})


def named(client: Client, name: str) -> list[Json]:
    return [job for job in client.get("/jobs")["items"] if job["name"] == name]


def test_requests_come_late_or_twice_or_with_a_token_that_has_expired(client: Client) -> None:
    body = {"command": "exec sleep 300", "directory": str(client.home)}
    fault(client, "late", seconds=0.5)
    with pytest.raises(requests.ConnectionError):
        client.ask("POST", "/jobs", body | {"name": "late"})
    assert processes.until(lambda: len(named(client, "late")) == 1, 10)
    fault(client, "twice")
    assert client.ask("POST", "/jobs", body | {"name": "twice"}).status_code == 500
    assert len(named(client, "twice")) == 2
    fault(client, "unauthorized")
    assert client.ask("POST", "/jobs", body).status_code == 401
    fault(client, "slow_reply", seconds=0.5)
    began = time.monotonic()
    client.submit("true", name="slow")
    assert time.monotonic() - began >= 0.5


def test_jobs_vanish_and_ids_jump(client: Client) -> None:
    listed = {job["id"] for job in client.get("/jobs")["items"]}
    first, second = client.submit("exec sleep 300"), client.submit("exec sleep 300")
    client.post("/minioar/hide", {"job_ids": [first], "seconds": 60})
    client.post("/minioar/hide", {"job_ids": [second], "seconds": 60, "wholly": True})
    assert {job["id"] for job in client.get("/jobs")["items"]} == listed
    assert client.job(first)["id"] == first
    assert client.ask("GET", f"/jobs/{second}").status_code == 500
    client.post("/minioar/hide", {"job_ids": [first, second], "seconds": 0, "wholly": True})
    assert {job["id"] for job in client.get("/jobs")["items"]} == listed | {first, second}
    assert client.job(second)["id"] == second
    client.post("/minioar/jump", {"by": 1000})
    assert client.submit("true") == second + 1001


def test_media(client: Client) -> None:
    file = client.home / "lines.txt"
    file.write_text("".join(f"{n}\n" for n in range(100)))
    assert client.ask("GET", "/media", path_filename=str(file), tail=2).content == b"98\n99\n"
    assert client.ask("GET", "/media", path_filename=str(file)).content == file.read_bytes()
    assert client.ask("GET", "/media", path_filename=str(client.home / "none")).status_code == 404
    assert client.ask("GET", "/media", path_filename=str(client.home)).status_code == 404
    assert client.ask("GET", "/media", path_filename=str(client.home / "a b")).status_code == 404
    assert client.ask("GET", "/media").status_code == 422
    if os.geteuid():
        file.chmod(0)
        assert client.ask("GET", "/media", path_filename=str(file)).status_code == 403
    assert client.ask("DELETE", "/media", path_filename=str(file)).status_code == 204
    assert not file.exists()


def test_stress_and_front_pages(client: Client) -> None:
    assert client.get("/stress_factor")["GLOBAL_STRESS"] == "0.0"
    client.post("/minioar/stress", {"value": 1.18})
    assert client.get("/stress_factor")["GLOBAL_STRESS"] == "1.18"
    client.post("/minioar/stress", {"value": "missing"})
    assert client.ask("GET", "/stress_factor").status_code == 404
    client.post("/minioar/stress", {"value": 0})
    assert abs(client.get("/")["api_timestamp"] - time.time()) < 5
    assert client.get("/timezone")["api_timezone"] == "UTC"
    assert client.ask("GET", "/nothing").status_code == 404
    assert client.ask("PUT", "/jobs").status_code == 405


def test_who_has_no_token_gets_nothing(start: Callable[..., Client], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    client = start(1, token_file=tmp_path / "token")
    for path in ("/", "/jobs", "/minioar/journal"):
        assert client.ask("GET", path).status_code == 403
    client.session.headers["Authorization"] = "Bearer wrong"
    assert client.ask("GET", "/jobs").status_code == 401
    client.session.headers["Authorization"] = "bearer secret"
    client.session.headers["X-Remote-Ident"] = "alice"
    assert client.get("/check_token")["user"] == "alice"
    assert client.run("true")["user"] == "alice"
