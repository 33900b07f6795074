"""A whole grid in one folder: database, clusters, daemons and API server, brought up and down in order."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from cigri import config
from cigri.errors import CigriError
from cigri.local import api, processes, sockets
from cigri.local.layout import Layout, LocalCluster, Plan
from cigri.local.minioar.launch import Minioar
from cigri.local.postgres import EmbeddedPostgres
from cigri.local.service import Service, command, environment

DATABASE = "cigri"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the grid as `status` shows it."""

    name: str
    pid: int | None
    detail: str


class LocalGrid:
    """The grid of a folder. up() and down() may be called by different processes."""

    def __init__(self, folder: Path, *, die_with_parent: bool = False) -> None:
        self.layout = Layout(folder.absolute())
        self.die_with_parent = die_with_parent
        self.postgres = EmbeddedPostgres(self.layout.database, durable=True, die_with_parent=die_with_parent)
        self.daemons = Service("almighty", "cigri.daemons.almighty", self.layout, die_with_parent)
        self.server = Service("api", "cigri.api.server", self.layout, die_with_parent)
        self._minioars: dict[str, Minioar] = {}

    def up(self, clusters: Mapping[str, int], settings: Mapping[str, str]) -> None:
        """Bring up what does not run. Clusters and settings are added to those of the last time."""
        self.layout.make()
        with self._locked():
            plan = self.layout.plan()
            for name, slots in clusters.items():
                self._change(plan, name, slots)
            changed = any(plan.settings.get(key) != value for key, value in settings.items())
            plan.settings |= settings
            fresh = not any(part.pid for part in self.status())
            try:
                self._up(plan, anew=changed)
            except BaseException:
                if fresh:
                    self._down(plan)
                raise

    def down(self) -> None:
        """Stop everything, in order; jobs that run end as preempted ones. Nothing is lost."""
        if not self.layout.lock.exists():
            raise CigriError(f"there is no grid in {self.layout.folder}")
        with self._locked():
            self._down(self.layout.plan())

    def status(self) -> list[Part]:
        """What runs, and what should."""
        parts = [
            Part("postgresql", self.postgres.running(), str(self.layout.database)),
            Part("api", self.server.running(), str(self.layout.folder / "api.sock")),
            Part("almighty", self.daemons.running(), str(self.layout.log("almighty"))),
        ]
        for name, cluster in self.layout.plan().clusters.items():
            mark = self.minioar(name, cluster).running()
            pid = int(mark.split()[0]) if mark else None
            where = self.minioar(name, cluster).url if pid else "-"
            parts.append(Part(f"cluster {name}", pid, f"{where} ({cluster.slots} slots)"))
        return parts

    def minioar(self, name: str, cluster: LocalCluster) -> Minioar:
        """The minioar of this name."""
        if name not in self._minioars:
            self._minioars[name] = Minioar(
                self.layout.cluster(name),
                cluster.slots,
                token_file=self.layout.token(name),
                die_with_parent=self.die_with_parent,
            )
        return self._minioars[name]

    def run(self, module: str, function: str, *arguments: str) -> str:
        """Run one of the grid's commands and give what it printed. Raises CigriError when it fails."""
        done = subprocess.run(
            command(module, function, *arguments),
            env=environment(self.layout),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise CigriError(f"{function} {' '.join(arguments)} failed:\n{done.stderr or done.stdout}")
        return done.stdout

    def gridadmin(self, *arguments: str) -> str:
        """Run gridadmin."""
        return self.run("cigri.admin.gridadmin", "gridadmin", *arguments)

    def _change(self, plan: Plan, name: str, slots: int) -> None:
        cluster = plan.clusters.setdefault(name, LocalCluster(slots))
        cluster.declared = False  # it is wanted, even if gridadmin has removed it
        if cluster.slots != slots:
            self.minioar(name, cluster).stop()
            del self._minioars[name]
            cluster.slots = slots

    def _up(self, plan: Plan, *, anew: bool) -> None:
        self.postgres.start()
        self._write_configuration(plan)
        self.layout.keep(plan)
        self.gridadmin("db", "migrate" if self._make_database() else "init")
        new = self._start_clusters(plan)
        if anew:
            self.server.stop()
            self.daemons.stop()
        self.daemons.start()
        self.server.start()
        for name in new:
            self._declare(name, plan.clusters[name])
            self.layout.keep(plan)
        self.daemons.wait(self._daemons_answer)
        socket = Path(config.load(str(self.layout.config)).api_socket)
        self.server.wait(lambda: api.get(socket, "/") is not None)

    def _down(self, plan: Plan) -> None:
        self.server.stop()
        orphans = self._duty_holders()
        self.daemons.stop()
        for mark in orphans:
            processes.stop(mark)
        for name, cluster in plan.clusters.items():
            self.minioar(name, cluster).stop()
            sockets.forget(self.layout.cluster(name))
        self.postgres.stop()
        sockets.forget(self.layout.database)
        sockets.forget(self.layout.folder)

    def _duty_holders(self) -> list[str]:
        """What names the daemons at work: they outlive an almighty that was killed."""
        if self.postgres.running() is None:
            return []
        try:
            with self._database() as connection:
                pids = [row[0] for row in connection.execute("SELECT pid FROM duties")]
        except psycopg.Error:  # a grid that never came up
            return []
        return [processes.mark(pid) for pid in pids if self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        try:
            return os.path.samefile(f"/proc/{pid}/cwd", self.layout.folder)
        except OSError:
            return False

    def _write_configuration(self, plan: Plan) -> None:
        database = {
            "DATABASE_HOST": str(self.postgres.folder),
            "DATABASE_PORT": str(self.postgres.port),
            "DATABASE_NAME": DATABASE,
            "DATABASE_USER_NAME": "postgres",
        }
        self.layout.write_configuration(plan, database)

    def _make_database(self) -> bool:
        """Make the grid's database; whether it was there before, with its schema."""
        with psycopg.connect(self.postgres.conninfo, autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
                return False
        with self._database() as connection:
            ledger = connection.execute("SELECT to_regclass('schema_migrations')").fetchone()
            return ledger is not None and ledger[0] is not None

    @contextlib.contextmanager
    def _database(self) -> Iterator[psycopg.Connection]:
        conninfo = psycopg.conninfo.make_conninfo(self.postgres.conninfo, dbname=DATABASE)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            yield connection

    def _start_clusters(self, plan: Plan) -> list[str]:
        """Start the minioars, and tell the grid where they are; those that it does not know yet.

        One that gridadmin has removed since is dropped.
        """
        with self._database() as connection:
            query = "SELECT name, api_url FROM clusters WHERE removed_at IS NULL"
            known = dict(connection.execute(query).fetchall())
        for name, cluster in list(plan.clusters.items()):
            if name in known:
                cluster.declared = True
            elif cluster.declared:
                self.minioar(name, cluster).stop()
                del plan.clusters[name]
                continue
            self.layout.write_token(name)
            self.minioar(name, cluster).begin()
        self.layout.keep(plan)
        for name, cluster in plan.clusters.items():
            minioar = self.minioar(name, cluster)
            minioar.wait()
            if name in known and known[name] != minioar.url:
                self.gridadmin("cluster", "set", name, "--api-url", minioar.url)
        return [name for name in plan.clusters if name not in known]

    def _declare(self, name: str, cluster: LocalCluster) -> None:
        """Tell the grid of a new cluster."""
        self.gridadmin(
            *("cluster", "add", name, "--batch", "oar3", "--api-url", self.minioar(name, cluster).url),
            *("--auth", "jwt", "--token-file", str(self.layout.token(name))),
        )
        cluster.declared = True

    def _daemons_answer(self) -> bool:
        """Whether the daemons of this very almighty have taken their duties."""
        pid = self.daemons.running()
        if pid is None:
            return False
        with self._database() as connection:
            query = "SELECT pid FROM duties WHERE name = 'metascheduler' AND seen > now() - interval '1 minute'"
            row = connection.execute(query).fetchone()
        return row is not None and processes.start_time(row[0]) is not None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone: another up or down on the folder must be over first."""
        lock = os.open(self.layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sys.stderr.write("waiting for another cigri-local that works on the same folder\n")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
