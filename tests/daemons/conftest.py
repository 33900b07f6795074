"""A small grid in one process: real database, real minioar, daemons whose rounds the test drives."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, func, select

from cigri.config import Settings
from cigri.core import jdl
from cigri.core.shell import job_key
from cigri.core.states import CampaignState, TaskState
from cigri.daemons.base import Daemon
from cigri.daemons.metascheduler import Metascheduler
from cigri.daemons.nikita import Nikita
from cigri.daemons.runner import Runner
from cigri.daemons.sites import Sites
from cigri.daemons.sweeping import sweep
from cigri.daemons.updater import Updater
from cigri.db import campaigns, check, clusters
from cigri.db.engine import create_engine, transaction
from cigri.db.tables import Campaign, CampaignProgress, Duty, Event, Job, Submission, Task
from cigri.local.minioar.launch import Minioar

FAST = {
    "runner_min_cycle_duration": 0.0,
    "daemon_period": 0.2,
    "rest_queries_timeout": 1.0,
    "settle_reading_delay": 0.1,
    "resubmit_look_delay": 0.2,
    "lost_job_delay": 0.3,
    "autofix_delay": 0.2,
    "kill_retry_delay": 0.1,
    "walltime_grace": 0.0,
}


class Grid:
    """The grid under test. Daemons are made at first use and keep their duty until the end."""

    def __init__(self, url: str, engine: Engine, cluster: Minioar, home: Path) -> None:
        self.engine = engine
        self.minioar = cluster
        self.home = home
        self.settings = dataclasses.replace(Settings(), **FAST)
        self._url = url
        self._daemons: dict[str, Daemon] = {}

    def daemon(self, name: str, make: Callable[[Settings, Engine], Daemon]) -> Any:
        if name not in self._daemons:
            self._daemons[name] = make(self.settings, create_engine(self._url, application=name))
            assert self._daemons[name].duty.acquire()
        return self._daemons[name]

    @property
    def runner(self) -> Runner:
        made: Runner = self.daemon("runner", lambda settings, engine: Runner(settings, engine, "mini"))
        return made

    @property
    def metascheduler(self) -> Metascheduler:
        made: Metascheduler = self.daemon("metascheduler", Metascheduler)
        return made

    @property
    def updater(self) -> Updater:
        made: Updater = self.daemon("updater", Updater)
        return made

    @property
    def nikita(self) -> Nikita:
        made: Nikita = self.daemon("nikita", Nikita)
        return made

    def forget(self, name: str) -> None:
        """The daemon dies: what it remembered is gone, its duty is free."""
        daemon = self._daemons.pop(name)
        daemon.close()
        daemon.engine.dispose()

    def close(self) -> None:
        for name in list(self._daemons):
            self.forget(name)

    def knob(self, path: str, body: object = None, method: str = "POST") -> Any:
        reply = requests.request(method, f"{self.minioar.url}/minioar/{path}", json=body, timeout=10)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def faults(self, *rules: dict[str, object]) -> None:
        """Let the cluster misbehave so (cigri.local.minioar.faults) from now on; without rules it is good again."""
        self.knob("faults", {"faults": list(rules)})

    def lose(self, kind: str, when: str = "after", *, on: str = "POST /jobs", count: int = 1, **more: object) -> None:
        """Spoil the next requests of a kind."""
        self.faults({"on": on, "kind": kind, "when": when, "count": count, **more})

    def ask(self, method: str, path: str, *, user: str = "alice", **arguments: Any) -> Any:
        """A request straight to the cluster, past the grid, as that user."""
        url, headers = f"{self.minioar.url}/{path}", {"X-Remote-Ident": user}
        reply = requests.request(method, url, headers=headers, timeout=10, **arguments)
        reply.raise_for_status()
        return reply.json()

    def remote(self, name: str = "cigri.", user: str = "alice") -> list[dict[str, Any]]:
        """The user's jobs on the cluster, ended ones too, whose names begin so: records with details."""
        asked = [("user", user), ("limit", 100000), ("details", "true")]
        live = self.ask("GET", "jobs", params=asked)["items"]
        ended = self.ask("GET", "jobs", params=[*asked, ("start_time", 1)])["items"]
        jobs = {job["id"]: job for job in [*ended, *live] if (job.get("name") or "").startswith(name)}
        return [jobs[number] for number in sorted(jobs)]

    def live(self, user: str = "alice") -> list[int]:
        """The ids of the user's jobs that have not ended, whatever their names."""
        return [job["id"] for job in self.ask("GET", "jobs", params={"user": user, "limit": 100000})["items"]]

    def by_hand(self, name: str, command: str, *, user: str = "alice", **more: object) -> int:
        """A job that somebody submits past the grid; its id."""
        asked = {"name": name, "command": command, "resource": ["/resource_id=1,walltime=1:00:00"]}
        asked |= {"type": ["besteffort"], "directory": str(self.home)}
        return int(self.ask("POST", "jobs", user=user, json=asked | more)["id"])

    def sweep(self) -> int:
        """nikita's sweep, without its waiting for the turn."""
        sites = Sites(self.nikita)
        try:
            with self.nikita.transaction() as session:
                record = clusters.by_name(session, "mini")
                assert record is not None
            return sweep(sites.site(record)).found
        finally:
            sites.close()

    def balanced(self) -> None:
        """Assert that the books balance."""
        with transaction(self.engine) as session:
            assert check.faults(session) == [], self.story()

    def marks(self) -> Counter[str]:
        """What the tasks left: the words that they appended to the file `marks`."""
        file = self.home / "marks"
        return Counter(file.read_text().split()) if file.exists() else Counter()

    def successes(self, campaign_id: int, *, restarted: bool = True) -> Counter[int]:
        """Which tasks of the campaign succeeded on the cluster, and how often, by its own records.

        Without `restarted`, a success that the cluster itself started again is one with those that came of it.
        """
        task_of = {job.id: job.task_id for job in self.rows(Job, campaign_id=campaign_id)}
        for submission in self.rows(Submission, campaign_id=campaign_id):
            task_of |= dict(zip(submission.void_jobs, submission.void_tasks, strict=True))
        names = {submission.name for submission in self.rows(Submission, campaign_id=campaign_id)}
        jobs = {job["id"]: job for job in self.remote() if job["name"] in names}
        good = [job for job in jobs.values() if job.get("exit_code") == 0]
        if not restarted:
            good = [job for job in good if jobs.get(job.get("resubmit_job_id"), {}).get("exit_code") != 0]
        return Counter(task_of[job_key(job["command"]) or 0] for job in good)

    def events(self, code: str) -> list[Any]:
        return self.rows(Event, code=code)

    def minioar_job(self, number: int) -> Any:
        """A job as the cluster tells it."""
        return requests.get(f"{self.minioar.url}/jobs/{number}", timeout=10).json()

    def campaign(self, lines: Sequence[str], exec_file: str = "true", user: str = "alice", **settings: object) -> int:
        """A campaign in treatment on the cluster; its id."""
        job = {"exec_file": exec_file, "exec_directory": str(self.home), **settings}
        raw = {"name": "test", "clusters": {"mini": job}}
        parsed, _ = jdl.parse(
            raw, known_clusters={"mini"}, default_resources="/resource_id=1", default_walltime="1", streamed=True
        )
        with transaction(self.engine) as session:
            cluster = clusters.by_name(session, "mini")
            assert cluster is not None
            campaign: int = campaigns.create(
                session,
                user=user,
                name="test",
                jdl=jdl.expanded(parsed),
                clusters={cluster.id: campaigns.Place.of(parsed.clusters["mini"])},
                lines=lines,
                total=len(lines),
            )
        return campaign

    def cycles(self) -> None:
        """One round of everybody."""
        self.metascheduler.cycle()
        self.runner.cycle()
        self.nikita.cycle()

    def until(self, done: Callable[[], object], seconds: float = 60.0) -> None:
        """Rounds until something is so."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, self.story()
            self.cycles()
            time.sleep(0.02)

    def finish(self, campaign_id: int, seconds: float = 90.0) -> None:
        """Rounds until the campaign has ended."""
        self.until(lambda: self.state(campaign_id) is not CampaignState.IN_TREATMENT, seconds)

    def state(self, campaign_id: int) -> CampaignState:
        with transaction(self.engine) as session:
            return session.execute(select(Campaign.state).where(Campaign.id == campaign_id)).scalar_one()

    def tasks(self, campaign_id: int) -> dict[str, int]:
        """How many tasks are in each state, counted one by one and compared with the counters."""
        with transaction(self.engine) as session:
            query = select(Task.state, func.count()).where(Task.campaign_id == campaign_id).group_by(Task.state)
            counted = {state.value: count for state, count in session.execute(query)}
            progress = session.get(CampaignProgress, campaign_id)
            total = session.execute(select(Campaign.total_tasks).where(Campaign.id == campaign_id)).scalar_one()
        if progress is not None:
            kept = {state.value: getattr(progress, state.value) for state in TaskState}
            assert {state: count for state, count in kept.items() if count} == counted
        assert sum(counted.values()) == total
        return counted

    def rows(self, table: type[Any], **where: object) -> list[Any]:
        with transaction(self.engine) as session:
            return list(session.scalars(select(table).filter_by(**where).order_by(table.id)))

    def duties(self) -> list[Duty]:
        with transaction(self.engine) as session:
            return list(session.scalars(select(Duty)))

    def story(self) -> str:
        """What a failed test wants to know."""
        jobs = [(job.id, job.state, job.remote_id, job.outcome, job.kill_reason) for job in self.rows(Job)]
        events = [(event.code, event.state, event.count, event.message) for event in self.rows(Event)]
        submissions = [(each.name, each.state, each.message) for each in self.rows(Submission)]
        return f"jobs {jobs[-20:]}\nevents {events}\nsubmissions {submissions}"


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minioar]:
    folder = tmp_path_factory.mktemp("mini") / "mini"
    with Minioar(folder, slots=8, round=0.05, die_with_parent=True) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Minioar) -> Iterator[Minioar]:
    """A minioar without jobs that live. Its ids go on from the tests before."""
    yield shared_cluster
    clear(shared_cluster.url)


def clear(url: str) -> None:
    """Make a minioar as good as new."""
    requests.delete(f"{url}/minioar/faults", timeout=10)
    requests.post(f"{url}/minioar/stress", json={"value": "0.0"}, timeout=10)
    end = time.monotonic() + 10
    while jobs := requests.get(f"{url}/jobs", params={"limit": 100000}, timeout=10).json()["items"]:
        assert time.monotonic() < end, jobs
        for job in jobs:
            requests.delete(f"{url}/jobs/{job['id']}", headers={"X-Remote-Ident": "root"}, timeout=10)
        time.sleep(0.05)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Minioar]:
    """A minioar that the test may stop, empty and start."""
    with Minioar(tmp_path / "own", slots=8, round=0.05, die_with_parent=True) as cluster:
        yield cluster


@pytest.fixture
def grid(database: Any, engine: Engine, cluster: Minioar, tmp_path: Path) -> Iterator[Grid]:
    yield from grid_on(cluster, database, engine, tmp_path)


@pytest.fixture
def own_grid(database: Any, engine: Engine, own_cluster: Minioar, tmp_path: Path) -> Iterator[Grid]:
    yield from grid_on(own_cluster, database, engine, tmp_path)


def grid_on(cluster: Minioar, database: Any, engine: Engine, folder: Path) -> Iterator[Grid]:
    with transaction(engine) as session:
        declared = clusters.declare(session, "mini", api_url=cluster.url, api_auth_type="none", batch="oar3")
        # As a grid that has run for a while: nikita sweeps when it is time, not in the first round.
        clusters.note(session, declared.id, swept_at=func.now())
    home = folder / "home"
    home.mkdir()
    grid = Grid(database.url, engine, cluster, home)
    yield grid
    grid.close()
