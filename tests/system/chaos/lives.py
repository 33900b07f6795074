"""One full life of a campaign, driven round by round, during which one daemon kills itself at a chosen point.

Each daemon is a process of its own, forked from this one: that is quick, and the death is a real one. What counts
as a point is every statement, every COMMIT, every request before it leaves, and every reply after it came.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import os
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import requests
from sqlalchemy import Engine, event, func
from sqlalchemy.exc import DBAPIError

from cigri.config import Settings
from cigri.core import jdl
from cigri.daemons.base import Daemon
from cigri.daemons.metascheduler import Metascheduler
from cigri.daemons.nikita import Nikita
from cigri.daemons.runner import Runner
from cigri.daemons.updater import Updater
from cigri.db import campaigns, clusters, events, kills
from cigri.db.engine import create_engine, transaction
from cigri.errors import DutyLost
from cigri.local import processes
from cigri.local.minioar.launch import Minioar
from ledger import Judgement, Ledger

CLUSTER = "mini"
QUICK = {
    "runner_min_cycle_duration": 0.0,
    "rest_queries_timeout": 1.0,
    "settle_reading_delay": 0.02,
    "resubmit_look_delay": 0.1,
    "lost_job_delay": 0.3,
    "autofix_delay": 0.1,
    "kill_retry_delay": 0.05,
    "walltime_grace": 0.0,
    "sweep_period": 0.01,
    "idle_sweep_period": 0.01,
}
MAKERS: Mapping[str, Callable[[Settings, Engine], Daemon]] = {
    "metascheduler": Metascheduler,
    "updater": Updater,
    "runner": lambda settings, engine: Runner(settings, engine, CLUSTER),
    "nikita": Nikita,
}
NUMBERS = re.compile(r"[\d_, ]+")  # what differs between rounds that do the same: counts of parameters, ids
PATIENCE = 300.0  # seconds that a life may take on a busy machine
TASK = """\
echo "S $1 $CIGRI_JOB_ID mini $OAR_JOB_ID" >>"$0.marks"
sleep "$2"
[ "$3" = 0 ] || exit "$3"
echo "E $1 $CIGRI_JOB_ID mini $OAR_JOB_ID" >>"$0.marks"
"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens besides the kill. `cast`: the daemons that take part, in the order of their turns."""

    name: str
    cast: Sequence[str]
    victims: Sequence[str]
    lines: Sequence[str]
    stages: bool = False
    away: bool = False
    faults: Sequence[Mapping[str, object]] = ()


BOTH = ("metascheduler", "runner")
ONCE = {"on": "POST /jobs", "count": 1}
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        # A task that succeeds, and one that fails.
        Scenario("plain", BOTH, BOTH, ("a 0 0", "b 0 3")),
        Scenario("with prologue and epilogue", BOTH, BOTH, ("a 0 0",), stages=True),
        Scenario("killed by its owner", (*BOTH, "nikita"), ("nikita", "runner"), ("long 60 0",)),
        # The updater is to find that the cluster answers again.
        Scenario("cluster was away", ("updater", *BOTH), ("updater",), ("a 0 0",), away=True),
        # The first reply is lost: the submission is looked up and adopted.
        Scenario("reply lost", BOTH, ("runner",), ("a 0 0", "b 0 0"), faults=[ONCE | {"kind": "close"}]),
        # The first request is lost: the submission is taken as absent.
        Scenario(
            "request lost", BOTH, ("runner",), ("a 0 0", "b 0 0"), faults=[ONCE | {"kind": "close", "when": "before"}]
        ),
        # Half of the array is there: one key is adopted, the other given back.
        Scenario("half an array", BOTH, ("runner",), ("a 0 0", "b 0 0"), faults=[ONCE | {"kind": "half_array"}]),
    )
}


# --- in the daemon's process


class Hook:
    """Counts the points of this process, and kills it at one of them (0: at none)."""

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal
        self.points: list[str] = []  # of this round: what was about to be done

    def point(self, what: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # the stamps of the duty go on at their own pace
        self.points.append(NUMBERS.sub("", what))
        self.fatal -= 1
        if not self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self, engine: Engine) -> None:
        event.listen(engine, "before_cursor_execute", lambda *words: self.point(words[2]))
        event.listen(engine, "commit", lambda *words: self.point("COMMIT"))
        send = requests.adapters.HTTPAdapter.send

        def counted(adapter: Any, request: Any, *arguments: Any, **options: Any) -> Any:
            self.point(f"{request.method} {request.url.partition('?')[0]}")
            try:
                return send(adapter, request, *arguments, **options)
            finally:
                self.point("reply")

        requests.adapters.HTTPAdapter.send = counted  # type: ignore[method-assign]

    def round(self) -> list[str]:
        """The points since the last time."""
        points, self.points = self.points, []
        return points


def serve(name: str, engine: Engine, fatal: int, orders: Connection) -> None:
    """Be a daemon that does a round whenever it is told, until it is told to end, or dies at its point."""
    processes.die_with_parent(signal.SIGKILL)
    hook = Hook(fatal)
    hook.install(engine)
    daemon = make(name, engine)
    while orders.recv():
        go_round(daemon)
        orders.send(hook.round())
    hook.fatal = 0
    daemon.close()
    engine.dispose()


def make(name: str, engine: Engine) -> Daemon:
    return MAKERS[name](dataclasses.replace(Settings(), **QUICK), engine)


def go_round(daemon: Daemon) -> None:
    """One round, under the duty; as Daemon.run does it."""
    try:
        while not daemon.duty.held:
            if daemon.duty.acquire():
                daemon.drop()
            else:
                time.sleep(0.002)
        daemon.cycle()
    except (DutyLost, DBAPIError):
        daemon.duty.release()


# --- in the driver


class Process:
    """One daemon as the driver has it."""

    def __init__(self, name: str, engine: Engine, fatal: int = 0) -> None:
        self.name = name
        self.orders, theirs = Pipe()
        self.pid = os.fork()
        if not self.pid:
            code = 1
            try:
                self.orders.close()
                serve(name, engine, fatal, theirs)
                code = 0
            finally:
                os._exit(code)
        theirs.close()
        self.rounds: list[list[str]] = []

    def cycle(self) -> bool:
        """One round; False if it has died in it."""
        try:
            self.orders.send(True)
            if not self.orders.poll(PATIENCE):
                raise TimeoutError(f"{self.name} does not end its round")
            self.rounds.append(self.orders.recv())
        except (EOFError, ConnectionError):
            self.orders.close()
            _, status = os.waitpid(self.pid, 0)
            if not os.WIFSIGNALED(status):
                raise RuntimeError(f"{self.name} ended by itself: {status}") from None
            return False
        return True

    def end(self) -> None:
        with contextlib.suppress(ConnectionError):
            self.orders.send(False)
        os.waitpid(self.pid, 0)
        self.orders.close()


class Ground:
    """A database and a cluster, on which lives are lived one after the other."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.engine = create_engine(url, application="driver", pool_size=0)
        # The forks inherit it, and do not touch it.
        self.base = psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), autocommit=True)
        self.clusters = {CLUSTER: 8}
        self.hidden: set[tuple[str, int]] = set()
        self.minioar = Minioar(folder / CLUSTER, slots=8, round=0.04, die_with_parent=True)
        self.minioar.start()
        self._numbers = itertools.count()
        with transaction(self.engine) as session:
            declared = clusters.declare(session, CLUSTER, api_url=self.minioar.url, api_auth_type="none", batch="oar3")
            self.cluster = declared.id
            clusters.note(session, declared.id, swept_at=func.now())
        # Made here, and used once here: what they have learned (compiled statements) is inherited by the forks.
        self.engines = {name: create_engine(url, application=name) for name in MAKERS}
        self._warm_up()

    def _warm_up(self) -> None:
        campaign, _ = self.campaign(SCENARIOS["killed by its owner"])
        daemons = [make(name, engine) for name, engine in self.engines.items()]
        for _ in rounds():
            for daemon in daemons:
                go_round(daemon)
            kill_long(self, campaign)
            if over(self, campaign):
                break
        for daemon in daemons:
            daemon.close()
            daemon.engine.dispose()
        gc.collect()
        gc.freeze()  # forks share what is never looked at again

    def process(self, name: str, fatal: int = 0) -> Process:
        """A daemon, which is to die at that point."""
        return Process(name, self.engines[name], fatal)

    def close(self) -> None:
        self.engine.dispose()
        self.base.close()
        self.minioar.stop()

    def rows(self, query: LiteralString, *values: object) -> list[Any]:
        return self.base.execute(query, values).fetchall()

    def remote(self, cluster: str) -> list[sqlite3.Row]:
        file = self.folder / cluster / "jobs.sqlite"
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)) as base:
            base.row_factory = sqlite3.Row
            return base.execute("SELECT * FROM jobs WHERE name LIKE 'cigri.%' ORDER BY id").fetchall()

    def campaign(self, scenario: Scenario) -> tuple[int, Path]:
        """A new campaign, and the file of its marks."""
        script = self.folder / f"task-{next(self._numbers)}"
        script.write_text(TASK)
        job: dict[str, object] = {"exec_file": f"sh {script}", "exec_directory": str(self.folder), "max_failures": 1000}
        if scenario.stages:
            job |= {"prologue": ["true"], "epilogue": ["true"]}
        raw = {"name": "life", "clusters": {CLUSTER: job}}
        parsed, _ = jdl.parse(
            raw, known_clusters={CLUSTER}, default_resources="/resource_id=1", default_walltime="1", streamed=True
        )
        with transaction(self.engine) as session:
            number = campaigns.create(
                session,
                user="alice",
                name="life",
                jdl=jdl.expanded(parsed),
                clusters={self.cluster: campaigns.Place.of(parsed.clusters[CLUSTER])},
                lines=list(scenario.lines),
                total=len(scenario.lines),
            )
            if scenario.away:
                news = events.News("TIMEOUT", "away", cluster_id=self.cluster, probe_delay=timedelta(0))
                events.record(session, news)
        return number, script.with_name(f"{script.name}.marks")

    def faults(self, rules: Sequence[Mapping[str, object]]) -> None:
        content = {"faults": list(rules)}
        requests.post(f"{self.minioar.url}/minioar/faults", json=content, timeout=20).raise_for_status()


@dataclass(slots=True)
class Life:
    """What became of a life."""

    rounds: list[list[str]]  # the points of the victim, round by round
    died: bool
    judgement: Judgement


def live(ground: Ground, scenario: Scenario, victim: str, fatal: int) -> Life:
    """A campaign from its submission to its end, with the victim killed at its point number `fatal` (0: never)."""
    number, marks = ground.campaign(scenario)
    ground.faults(scenario.faults)
    daemons = {name: ground.process(name, fatal if name == victim else 0) for name in scenario.cast}
    died = killed = False
    first = daemons[victim]
    try:
        for _ in rounds():
            for name in scenario.cast:
                if not daemons[name].cycle():
                    died = True
                    daemons[name] = ground.process(name)
            killed = killed or kill_long(ground, number)
            if over(ground, number):
                break
            quiet(ground)
        judgement = judged(ground, number, marks, daemons)
    finally:
        for process in daemons.values():
            process.end()
    return Life(first.rounds, died, judgement)


def rounds() -> Iterator[int]:
    end = time.monotonic() + PATIENCE
    for number in itertools.count():
        yield number
        if time.monotonic() > end:
            return
        time.sleep(0.01)


def quiet(ground: Ground) -> None:
    """Wait until the cluster has nothing to do but the long tasks: each round finds news then."""
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        live = [row for row in ground.remote(CLUSTER) if row["state"] not in ("Terminated", "Error")]
        if all(row["state"] == "Running" and not row["frag"] and " long " in row["command"] for row in live):
            return
        time.sleep(0.02)


def kill_long(ground: Ground, campaign: int) -> bool:
    """The owner kills the long task once it runs; whether that is done."""
    query = """SELECT j.id FROM jobs j JOIN tasks t ON t.id = j.task_id
               WHERE j.campaign_id = %s AND j.state = 'running' AND t.line LIKE 'long%%'"""
    found = [row[0] for row in ground.rows(query, campaign)]
    if found:
        with transaction(ground.engine) as session:
            kills.mark_jobs(session, found, kills.KillReason.USER)
    return bool(found)


def over(ground: Ground, campaign: int) -> bool:
    query = "SELECT ended_at IS NOT NULL FROM campaigns WHERE id = %s"
    return bool(ground.rows(query, campaign)[0][0])


def judged(ground: Ground, campaign: int, marks: Path, daemons: dict[str, Process]) -> Judgement:
    """The books in the end; the sweep has some rounds to find what is left."""
    for attempt in range(50):
        judgement = Ledger(ground, [campaign], marks, QUICK["rest_queries_timeout"]).judge()
        if not judgement.problems:
            break
        time.sleep(0.02 * attempt)
        if "nikita" not in daemons:  # to sweep
            daemons["nikita"] = ground.process("nikita")
        for process in list(daemons.values()):
            if not process.cycle():
                daemons[process.name] = ground.process(process.name)
    return judgement
