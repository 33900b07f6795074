"""The client and minioar together: every request of the protocol against real jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cigri.clusters.base import RemoteJob, RemoteState, Resources, Submission
from cigri.clusters.connect import ClusterSettings, connect
from cigri.errors import NotFound, Refused
from cigri.local.minioar.launch import Minioar


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[object]:
    server = Minioar(
        tmp_path_factory.mktemp("minioar"), 3, round=0.05, die_with_parent=True, environment={"HOME": str(home)}
    )
    server.start()
    yield connect(ClusterSettings(name="mini", batch="oar3", api_url=server.url), timeout=10)
    server.stop()


@pytest.fixture
def submit(cluster, home) -> Callable[..., int]:
    def submit(*lines: str, name: str = "cigri.0a1b2c3d.1.x", login: str = "alice") -> int:
        return cluster.submit(
            Submission(
                name=name,
                login=login,
                command="export X=1;",
                lines=lines,
                resources="/resource_id=1",
                walltime="0:05:00",
                directory=str(home),
            )
        )

    return submit


def until(ask: Callable[[], list[RemoteJob]], good: Callable[[RemoteJob], bool]) -> list[RemoteJob]:
    end = time.monotonic() + 20
    while not all(map(good, found := ask())):
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def test_an_array_from_submission_to_outputs(cluster, submit, home):
    began = cluster.clock()
    array_id = submit("echo one; exit 0", "echo two >&2; exit 3", name="cigri.0a1b2c3d.7.one")
    ended = until(lambda: cluster.array(array_id), lambda job: job.state.final)
    assert [(job.array_index, job.exit_code, job.name) for job in ended] == [
        (1, 0, "cigri.0a1b2c3d.7.one"),
        (2, 768, "cigri.0a1b2c3d.7.one"),
    ]
    assert ended[0].command == "export X=1; echo one; exit 0"
    assert {(job.queue, job.user, job.array_id, job.walltime) for job in ended} == {
        ("besteffort", "alice", array_id, 300)
    }
    first, second = ended
    assert cluster.job(first.id) == first
    assert cluster.jobs([second.id, 424242]) == [second]
    assert {first.id, second.id} <= {job.id for job in cluster.jobs_since("alice", began - 60)}
    assert cluster.jobs_since("bob", began - 60) == []
    assert cluster.read_file("alice", f"{home}/{first.stdout_file}") == b"one\n"
    assert cluster.read_file("alice", f"{home}/{second.stderr_file}", tail=5) == b"two\n"
    cluster.delete_file("alice", f"{home}/{first.stdout_file}")
    with pytest.raises(NotFound):
        cluster.read_file("alice", f"{home}/{first.stdout_file}")


def test_a_running_job_holds_its_resource_and_dies_when_deleted(cluster, submit):
    assert cluster.resources() == Resources(total=3, unavailable=0, free=3, usable_by_besteffort=3)
    job_id = submit("sleep 100")
    until(lambda: [cluster.job(job_id)], lambda job: job.state is RemoteState.RUNNING)
    assert cluster.resources().free == 2
    assert [job.id for job in cluster.live_jobs("alice", details=True)] == [job_id]
    assert not cluster.delete("bob", job_id).accepted
    assert cluster.delete("alice", job_id).accepted
    until(lambda: [cluster.job(job_id)], lambda job: job.state is RemoteState.ERROR)
    (found,) = [job for job in cluster.error_jobs("alice", details=True) if job.id == job_id]
    assert found.exit_code is None
    assert "FRAG_JOB_REQUEST" in [event.kind for event in found.events]
    assert cluster.live_jobs("alice") == []


def test_what_is_not_there_and_what_is_refused(cluster, submit):
    cluster.check_health()
    with pytest.raises(NotFound):
        cluster.job(424242)
    assert cluster.array(424242) == []
    assert not cluster.delete("alice", 424242).accepted
    assert cluster.stress_factor() is None or cluster.stress_factor() >= 0
    with pytest.raises(Refused):
        cluster.submit(
            Submission(
                name="cigri.0a1b2c3d.1.big",
                login="alice",
                command="true",
                lines=("1",),
                resources="/resource_id=99",
                walltime="0:05:00",
                directory="/tmp",
            )
        )
