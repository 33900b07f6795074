"""minioar's state survives its own death, and it misbehaves on demand."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from cigri.local import processes
from cigri.local.minioar.launch import Minioar

Json = Any


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Minioar]:
    cluster = Minioar(tmp_path / "c", 4, round=0.05, die_with_parent=True, environment={"HOME": str(tmp_path)})
    with cluster:
        yield cluster


def submit(cluster: Minioar, command: str, **fields: object) -> int:
    reply = requests.post(f"{cluster.url}/jobs", json={"command": command, **fields}, timeout=10)
    return int(reply.json()["id"])


def job(cluster: Minioar, number: int) -> Json:
    return requests.get(f"{cluster.url}/jobs/{number}?details=1", timeout=10).json()


def wait(cluster: Minioar, number: int, *states: str) -> Json:
    wanted = states or ("Terminated", "Error")
    assert processes.until(lambda: job(cluster, number)["state"] in wanted, 10), job(cluster, number)
    return job(cluster, number)


def total(cluster: Minioar) -> int:
    query = "states=Waiting&states=Hold&states=Running&states=Launching&states=Finishing&states=Terminated&states=Error"
    return int(requests.get(f"{cluster.url}/jobs?{query}&limit=1", timeout=10).json()["total"])


def keeper(cluster: Minioar) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"cigri.local.minioar.keeper" in words and os.fsencode(cluster.folder) in words:
            return int(folder.name)
    raise AssertionError("no keeper")


def test_what_runs_goes_on_when_the_server_is_killed(cluster: Minioar) -> None:
    ended = wait(cluster, submit(cluster, "exit 2"))
    short = submit(cluster, "sleep 0.5; exit 5")
    long = submit(cluster, "sleep 1.5; exit 6")
    waiting = submit(cluster, "true", resource=["/core=4"])
    wait(cluster, long, "Running")
    url = cluster.url
    cluster.crash()
    time.sleep(0.8)
    cluster.start()
    assert cluster.url == url
    assert job(cluster, ended["id"])["exit_code"] == 512
    assert wait(cluster, short)["exit_code"] == 5 * 256
    assert wait(cluster, long)["exit_code"] == 6 * 256
    assert wait(cluster, waiting)["exit_code"] == 0
    journal = requests.get(f"{cluster.url}/minioar/journal", timeout=10).json()["items"]
    assert sorted(item["job_id"] for item in journal if item["what"] == "start") == [1, 2, 3, 4]


def test_killed_again_and_again_every_job_starts_once(cluster: Minioar, tmp_path: Path) -> None:
    array = submit(cluster, f"echo $OAR_ARRAY_INDEX >> {tmp_path}/marks; sleep 0.1; exit", array=40)
    for _ in range(4):
        time.sleep(0.15)
        cluster.crash()
        cluster.start()
    for number in range(array, array + 40):
        assert wait(cluster, number)["exit_code"] == 0
    marks = (tmp_path / "marks").read_text().split()
    assert sorted(marks, key=int) == [str(n) for n in range(1, 41)]


def test_jobs_whose_keeper_died_end_in_error_when_they_are_gone(cluster: Minioar) -> None:
    long = submit(cluster, "exec sleep 300")
    short = submit(cluster, "exec sleep 1")
    wait(cluster, short, "Running")
    os.kill(keeper(cluster), signal.SIGKILL)
    lost = wait(cluster, short)
    assert lost["state"] == "Error" and "exit_code" not in lost
    assert [event["type"] for event in lost["events"]] == ["EXTERMINATE_JOB"]
    assert wait(cluster, submit(cluster, "exit 1"))["exit_code"] == 256
    assert job(cluster, long)["state"] == "Running"
    requests.delete(f"{cluster.url}/jobs/{long}", timeout=10)
    assert wait(cluster, long)["state"] == "Error"


def test_a_stop_leaves_jobs_or_ends_them_as_preempted(cluster: Minioar) -> None:
    cluster.stop()
    cluster.kill_jobs = False
    cluster.start()
    number = submit(cluster, "echo $$; exec sleep 300", type=["besteffort"])
    wait(cluster, number, "Running")
    file = Path(job(cluster, number)["launching_directory"]) / f"OAR.{number}.stdout"
    assert processes.until(lambda: file.read_text().endswith("\n"), 5)
    running = processes.mark(int(file.read_text()))
    cluster.stop()
    assert processes.alive(running) is not None
    cluster.kill_jobs = True
    cluster.start()
    assert job(cluster, number)["state"] == "Running"
    cluster.stop()
    assert processes.alive(running) is None
    cluster.start()
    ended = job(cluster, number)
    assert ended["state"] == "Error" and ended["events"][0]["type"] == "BESTEFFORT_KILL"


def set_faults(cluster: Minioar, *rules: dict[str, object], seed: int = 0) -> None:
    requests.post(f"{cluster.url}/minioar/faults", json={"faults": rules, "seed": seed}, timeout=10).raise_for_status()


@pytest.mark.parametrize("kind", ["close", "reset", "no_answer"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_lost_replies(cluster: Minioar, kind: str, when: str) -> None:
    set_faults(cluster, {"on": "POST /jobs", "kind": kind, "when": when, "count": 1})
    with pytest.raises((requests.ConnectionError, requests.ReadTimeout)):
        requests.post(f"{cluster.url}/jobs", json={"command": "true"}, timeout=0.5)
    assert total(cluster) == (1 if when == "after" else 0)
    assert submit(cluster, "true") == total(cluster)


def test_spoilt_replies(cluster: Minioar) -> None:
    post = {"on": "POST /jobs", "count": 1}
    set_faults(cluster, post | {"kind": "error_before"}, post | {"kind": "error_after"})
    body = {"command": "true", "param_file": "1\n2\n3\n4"}
    for expected in (0, 4):
        assert requests.post(f"{cluster.url}/jobs", json=body, timeout=10).status_code == 500
        assert total(cluster) == expected
    set_faults(cluster, post | {"kind": "half_array"}, post | {"kind": "hold_corpse"}, post | {"kind": "empty"})
    assert requests.post(f"{cluster.url}/jobs", json=body, timeout=10).status_code == 500
    assert total(cluster) == 6
    assert requests.post(f"{cluster.url}/jobs", json=body, timeout=10).status_code == 500
    time.sleep(0.2)
    assert requests.get(f"{cluster.url}/jobs?states=Hold", timeout=10).json()["total"] == 4
    assert requests.post(f"{cluster.url}/jobs", json=body, timeout=10).json() == {}
    set_faults(cluster, {"on": "GET", "kind": "truncate", "count": 1}, {"on": "*", "kind": "garbage", "count": 1})
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(f"{cluster.url}/jobs", timeout=10)
    with pytest.raises(requests.exceptions.JSONDecodeError):
        requests.get(f"{cluster.url}/jobs", timeout=10).json()
    set_faults(cluster, {"on": "*", "kind": "wedged"})
    assert requests.get(f"{cluster.url}/jobs?limit=1", timeout=10).status_code == 500
    assert requests.get(f"{cluster.url}/", timeout=10).status_code == 200
    assert requests.delete(f"{cluster.url}/jobs/1", timeout=10).json()["exit_status"] == 7
    assert requests.delete(f"{cluster.url}/minioar/faults", timeout=10).json() == {"struck": {"wedged": 3}}
    assert requests.get(f"{cluster.url}/jobs?limit=1", timeout=10).status_code == 200
    assert "FRAG_JOB_REQUEST" not in [event["type"] for event in job(cluster, 1)["events"]]
    assert (
        requests.post(f"{cluster.url}/minioar/faults", json=[{"on": "*", "kind": "x"}], timeout=10).status_code == 422
    )


def test_a_slow_reply_does_not_hold_up_others(cluster: Minioar) -> None:
    set_faults(cluster, {"on": "GET /jobs", "kind": "delay", "seconds": 1, "count": 1})
    slow = threading.Thread(target=lambda: requests.get(f"{cluster.url}/jobs", timeout=10))
    slow.start()
    time.sleep(0.2)
    begin = time.monotonic()
    assert total(cluster) == 0
    assert time.monotonic() - begin < 0.5
    slow.join()


def test_the_same_seed_gives_the_same_misfortunes(cluster: Minioar) -> None:
    def luck() -> list[int]:
        set_faults(cluster, {"on": "GET", "kind": "error_before", "probability": 0.5}, seed=7)
        return [requests.get(f"{cluster.url}/jobs", timeout=10).status_code for _ in range(20)]

    first = luck()
    assert 0 < first.count(500) < 20
    assert luck() == first
