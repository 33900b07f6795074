"""The clusters that the protocol is tried on.

minioar always; a real OAR 2.5, set up here, with CIGRI_TEST_OAR2=yes (`make test-oar2` says so); a real OAR3 that is
there already with CIGRI_TEST_OAR3_URL, CIGRI_TEST_OAR3_TOKEN and CIGRI_TEST_OAR3_OTHER_TOKEN (two users' tokens).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cigri.clusters.base import Cluster, RemoteJob, Submission
from cigri.clusters.connect import ClusterSettings, connect
from cigri.core import tokens
from cigri.core.outcome import Ended, LookAgain, Resubmitted, Verdict, decide
from cigri.core.shell import array_command, command_line
from cigri.daemons.sites import signs
from cigri.local.minioar import tokens as issuing
from cigri.local.minioar.launch import Minioar

TOKENS = ("CIGRI_TEST_OAR3_TOKEN", "CIGRI_TEST_OAR3_OTHER_TOKEN")


@dataclass(frozen=True)
class Place:
    """A cluster, the two users that the tests act as, and how long things may take there."""

    kind: str
    cluster: Cluster
    user: str
    other: str
    patience: float
    short: str  # a walltime that is over soon

    @property
    def size(self) -> int:
        return self.cluster.resources().total

    def submission(self, *scripts: str, **more: Any) -> Submission:
        """Jobs of the user, as the runner sends them: each does what bash makes of its script."""
        first = time.time_ns()
        plain = Submission(
            name=f"cigri.0a1b2c3d.7.{os.urandom(10).hex()}",
            login=self.user,
            command=array_command(7),
            lines=[command_line(key, script, "") for key, script in enumerate(scripts, first)],
            resources="/resource_id=1",
            walltime="0:05:00",
            directory="$HOME",
        )
        return replace(plain, **more)

    def submit(self, *scripts: str, **more: Any) -> list[RemoteJob]:
        """Submit; the jobs as they are listed at once, in the order of the scripts."""
        submission = self.submission(*scripts, **more)
        jobs = sorted(self.cluster.array(self.cluster.submit(submission)), key=lambda job: job.id)
        assert [job.name for job in jobs] == [submission.name] * len(scripts)
        return jobs

    def wait(self, jobs: list[RemoteJob], good: Callable[[RemoteJob], bool]) -> list[RemoteJob]:
        """The jobs when all of them are as wanted."""
        end = time.monotonic() + self.patience
        while not all(map(good, found := self.cluster.jobs([job.id for job in jobs], details=False))):
            assert time.monotonic() < end, self.cluster.jobs([job.id for job in jobs])
            time.sleep(0.1 if self.kind == "minioar" else 0.5)
        assert len(found) == len(jobs)
        return sorted(self.cluster.jobs([job.id for job in jobs]), key=lambda job: job.id)

    def wait_end(self, jobs: list[RemoteJob]) -> list[RemoteJob]:
        return self.wait(jobs, lambda job: job.state.final)

    def verdict(self, job: RemoteJob, kill_reason: str | None = None) -> Verdict:
        """What core makes of a job's end; events may still be on their way."""
        end = time.monotonic() + self.patience
        while True:
            found = decide(
                Ended(job.exit_code, signs(job), job.start_time > 0, kill_reason, looked_before=True),
            )
            if isinstance(found, Verdict):
                return found
            assert isinstance(found, LookAgain) and not isinstance(found, Resubmitted), found
            assert time.monotonic() < end, job
            time.sleep(0.5)
            job = self.cluster.job(job.id)

    def output(self, job: RemoteJob, name: str = "", tail: int | None = None) -> str:
        """What a job wrote."""
        path = f"{job.launching_directory}/{name or job.stdout_file}"
        return self.cluster.read_file(self.user, path, tail).decode()


@contextmanager
def minioar() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="cigri-conformance-"))
    (folder / "home").mkdir()
    (folder / "secret").write_text("a word that signs tokens for this test alone\n")
    (folder / "secret").chmod(0o600)
    server = Minioar(
        folder / "minioar",
        3,
        jwt_secret_file=folder / "secret",
        round=0.05,
        die_with_parent=True,
        environment={"HOME": str(folder / "home")},
    )
    secret = (folder / "secret").read_text().strip()
    with server:
        yield of_tokens(
            "minioar", server.url, [issuing.issue(secret, user) for user in ("alice", "bob")], 30, "0:00:01"
        )
    shutil.rmtree(folder)


@contextmanager
def oar2_5() -> Iterator[Place]:
    from tests.oar2.real_oar import RealOar

    folder = Path(tempfile.mkdtemp(prefix="cigri-conformance-"))
    folder.chmod(0o755)
    user, other = "cigri_alice", "cigri_bob"
    oar = RealOar(folder / "bear", nodes=1, cores=3, users=(user, other))
    try:
        oar.up()
        settings = ClusterSettings(name="oar2_5", batch="oar2_5", api_url=oar.url)
        yield Place("oar2_5", connect(settings), user, other, 240, "0:00:05")
    finally:
        oar.down()
        shutil.rmtree(folder)


@contextmanager
def oar3() -> Iterator[Place]:
    words = [os.environ[name].strip() for name in TOKENS]
    yield of_tokens("oar3", os.environ["CIGRI_TEST_OAR3_URL"], words, 300, "0:00:10")


def of_tokens(kind: str, url: str, words: list[str], patience: float, short: str) -> Place:
    users = [tokens.claims(word).user for word in words]
    by_user: dict[str | None, str] = dict(zip(users, words, strict=True))
    settings = ClusterSettings(name=kind, batch="oar3", api_url=url, api_auth_type="jwt")
    cluster = connect(settings, ask=lambda login: by_user.get(login, ""))
    return Place(kind, cluster, users[0], users[1], patience, short)


PLACES = {"minioar": minioar, "oar2_5": oar2_5, "oar3": oar3}


def wanted() -> list[str]:
    asked = {"oar2_5": os.environ.get("CIGRI_TEST_OAR2") == "yes", "oar3": "CIGRI_TEST_OAR3_URL" in os.environ}
    return ["minioar", *(kind for kind, there in asked.items() if there)]


@pytest.fixture(scope="session", params=wanted())
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with PLACES[request.param]() as found:
        yield found
