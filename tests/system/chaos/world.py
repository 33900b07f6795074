"""A whole grid of real processes under attack: what the acts need to take hold of it."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import requests
from sqlalchemy import Engine

from cigri import config
from cigri.admin.gridadmin import gridadmin
from cigri.db.engine import create_engine
from cigri.errors import CigriError
from cigri.local import processes
from cigri.local.grid import LocalGrid
from cigri.local.layout import LocalCluster
from cigri.local.minioar.launch import Minioar
from cigri.local.service import environment

# What takes minutes on a real cluster takes a second or two here.
SCALED = {
    "DAEMON_PERIOD": "1",
    "RUNNER_MIN_CYCLE_DURATION": "0.4",
    "RUNNER_CHUNK": "12",
    "REST_QUERIES_TIMEOUT": "2",
    "SETTLE_READING_DELAY": "0.5",
    "RESUBMIT_LOOK_DELAY": "1",
    "LOST_JOB_DELAY": "6",
    "KILL_RETRY_DELAY": "0.5",
    "AUTOFIX_DELAY": "0.5",
    "DUTY_TIMEOUT": "6",
    "REQUEST_ARRIVAL_WINDOW": "20",
    "SWEEP_PERIOD": "1.5",
    "IDLE_SWEEP_PERIOD": "3",
    "REMOTE_WAITING_TIMEOUT": "120",
    "API_TRUSTED_USERS": "root",
}
FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"
Rule = dict[str, object]


class QuickGrid(LocalGrid):
    """A local grid whose gridadmin runs in this very process: on a busy machine the start of a Python takes seconds."""

    def gridadmin(self, *arguments: str) -> str:
        said = io.StringIO()
        with changed_environment(CIGRICONFFILE=str(self.layout.config)), contextlib.redirect_stdout(said):
            gridadmin.main(list(arguments), standalone_mode=False)
        return said.getvalue()


@contextlib.contextmanager
def changed_environment(**words: str) -> Iterator[None]:
    """These words in the environment, for the processes started meanwhile."""
    before = {name: os.environ.get(name) for name in words}
    os.environ.update(words)
    try:
        yield
    finally:
        for name, word in before.items():
            if word is None:
                del os.environ[name]
            else:
                os.environ[name] = word


def faked_time(seconds: float) -> dict[str, str]:
    """The environment in which a process's clock is off by so much; empty where libfaketime is not installed."""
    library = next(iter(glob.glob(FAKETIME)), None)
    if library is None or not seconds:
        return {}
    return {
        "LD_PRELOAD": library,
        "FAKETIME": f"{seconds:+.0f}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "0",
    }


class World:
    """The grid, its clusters and what is wrong with them at the moment."""

    def __init__(self, folder: Path, clusters: Mapping[str, int], **settings: str) -> None:
        self.folder = folder
        self.clusters = dict(clusters)
        self.settings = SCALED | settings
        self.home = folder / "home"
        self.grid = QuickGrid(folder / "grid", die_with_parent=True)
        self.rules: dict[str, list[Rule]] = {name: [] for name in clusters}
        self.struck: Counter[str] = Counter()
        self.standing_by: dict[str, subprocess.Popen[bytes]] = {}
        self.stopped: set[int] = set()
        self.hidden: set[tuple[str, int]] = set()
        self.daemon_clock: dict[str, str] = {}
        self._engine: Engine | None = None

    # --- up and down

    def up(self) -> None:
        self.home.mkdir(parents=True)
        self.grid.up(self.clusters, self.settings)

    def down(self) -> None:
        """Stop everything, whatever state it is in."""
        self.resume_all()
        for name in list(self.standing_by):
            self.stand_by_no_more(name)
        if self._engine is not None:
            self._engine.dispose()
        if self.grid.layout.lock.exists():
            self.grid.down()

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            url = config.load(str(self.grid.layout.config)).database_url()
            self._engine = create_engine(url, application="chaos", pool_size=0)
        return self._engine

    def rows(self, query: LiteralString, *values: object) -> list[Any]:
        """What the database has."""
        conninfo = self.engine.url.set(drivername="postgresql").render_as_string()
        with psycopg.connect(conninfo, autocommit=True) as connection:
            return connection.execute(query, values).fetchall()

    # --- processes

    def almighty(self) -> int | None:
        return self.grid.daemons.running()

    def role(self, name: str) -> int | None:
        """The process that has this role under almighty, or is this service; None if there is none just now."""
        if name == "almighty":
            return self.almighty()
        if name == "api":
            return self.grid.server.running()
        if name == "postgresql":
            return self.grid.postgres.running()
        found = [pid for pid, title in children(self.almighty() or -1).items() if title == f"cigri {name}"]
        return found[0] if found else None

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> bool:
        pid = self.role(name)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def stop_for(self, pids: Sequence[int], seconds: float) -> None:
        """SIGSTOP, and SIGCONT so much later, whatever the schedule waits for: perhaps for these very processes."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self.stopped.add(pid)
        timer = threading.Timer(seconds, self.resume, [pids])
        timer.daemon = True
        timer.start()

    def resume(self, pids: Sequence[int]) -> None:
        for pid in pids:
            self.stopped.discard(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def resume_all(self) -> None:
        self.resume(list(self.stopped))

    def stand_by(self, name: str) -> None:
        """A second process for the duty of a daemon, as on a second head node."""
        module, *arguments = name.split()
        with open(self.grid.layout.log("standby"), "ab") as output:
            self.standing_by[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", f"cigri.daemons.{module}", *arguments],
                cwd=self.grid.layout.folder,
                env=environment(self.grid.layout),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=lambda: processes.die_with_parent(signal.SIGKILL),
            )

    def stand_by_no_more(self, name: str) -> None:
        process = self.standing_by.pop(name)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def revive(self) -> None:
        """As systemd does: what has died of the services is started again."""
        if self.grid.postgres.running() is None:
            with contextlib.suppress(CigriError):  # orphaned backends hold its memory for a moment
                self.grid.postgres.stop()
                self.grid.postgres.start()
        for service in (self.grid.daemons, self.grid.server):
            if service.running() is None:
                if service.process is not None:
                    service.process.wait()
                with changed_environment(**self.daemon_clock):
                    service.start()
        for name in self.clusters:
            if not self.minioar(name).running():
                with contextlib.suppress(CigriError):
                    self.minioar(name).start()
                    self.apply(name)

    # --- clusters

    def minioar(self, name: str) -> Minioar:
        return self.grid.minioar(name, LocalCluster(self.clusters[name]))

    def ask(self, cluster: str, method: str, path: str, **arguments: Any) -> Any:
        """A request straight to a cluster."""
        token = self.grid.layout.token(cluster).read_text().strip()
        reply = requests.request(
            method,
            f"{self.minioar(cluster).url}/{path}",
            headers={"Authorization": f"Bearer {token}", "X-Remote-Ident": "root"},
            timeout=20,
            **arguments,
        )
        reply.raise_for_status()
        return reply.json()

    def knob(self, cluster: str, name: str, content: object = None, method: str = "POST") -> Any:
        """One of minioar's knobs; None while the cluster is down."""
        try:
            return self.ask(cluster, method, f"minioar/{name}", json=content)
        except (OSError, requests.RequestException):
            return None

    def misbehave(self, cluster: str, rules: Sequence[Rule]) -> None:
        """From now on these misfortunes, too."""
        self.rules[cluster] += rules
        self.apply(cluster)

    def behave(self, cluster: str, rules: Sequence[Rule] | None = None) -> None:
        """These misfortunes no more; without any: none."""
        self.rules[cluster] = [] if rules is None else [rule for rule in self.rules[cluster] if rule not in rules]
        self.apply(cluster)

    def apply(self, cluster: str) -> None:
        told = self.knob(cluster, "faults", method="GET")
        self.struck.update((told or {}).get("struck", {}))
        self.knob(cluster, "faults", {"faults": self.rules[cluster], "seed": len(self.rules[cluster])})

    def remote(self, cluster: str, newest: int = 1 << 40) -> list[sqlite3.Row]:
        """The jobs of the grid that the cluster ever had (or the newest of them), from its own books, newest first."""
        file = self.grid.layout.cluster(cluster) / "jobs.sqlite"
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)) as base:
            base.row_factory = sqlite3.Row
            query = "SELECT * FROM jobs WHERE name LIKE 'cigri.%' ORDER BY id DESC LIMIT ?"
            return base.execute(query, (newest,)).fetchall()

    # --- logs

    def said(self, since: Mapping[str, int]) -> str:
        """What daemons said since these places in their logs."""
        found = []
        for name in ("almighty", "standby"):
            log = self.grid.layout.log(name)
            if log.exists():
                found.append(log.read_bytes()[since.get(name, 0) :].decode(errors="replace"))
        return "".join(found)

    def log_places(self) -> dict[str, int]:
        names = ("almighty", "standby")
        return {name: log.stat().st_size for name in names if (log := self.grid.layout.log(name)).exists()}


def children(parent: int) -> dict[int, str]:
    """The living children of a process: pid -> command line."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_bytes()
            title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        fields = stat[stat.rindex(b")") + 2 :].split()
        if int(fields[1]) == parent and fields[0] not in (b"Z", b"X"):
            found[int(entry.name)] = title
    return found


def family(pid: int) -> list[int]:
    """A process and its children."""
    return [pid, *children(pid)]


def until(condition: Any, seconds: float, step: float = 0.1) -> bool:
    """Wait for the condition; an attack on what it asks is no answer."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(psycopg.Error, OSError, requests.RequestException, sqlite3.OperationalError):
            if condition():
                return True
        if time.monotonic() > end:
            return False
        time.sleep(step)
