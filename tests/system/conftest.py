"""A whole grid of real processes, and what the tests do to it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
import requests
from sqlalchemy import Engine

from cigri import config
from cigri.db import check
from cigri.db.engine import create_engine, transaction
from cigri.local import processes
from cigri.local.grid import LocalGrid

# What takes minutes on a real cluster takes a second here.
QUICK = {
    "DAEMON_PERIOD": "1",
    "RUNNER_MIN_CYCLE_DURATION": "0.3",
    "RUNNER_CHUNK": "10",
    "REST_QUERIES_TIMEOUT": "3",
    "SETTLE_READING_DELAY": "0.5",
    "RESUBMIT_LOOK_DELAY": "1",
    "KILL_RETRY_DELAY": "0.5",
    "AUTOFIX_DELAY": "1",
    "DUTY_TIMEOUT": "6",
}


class Whole:
    """A local grid and its users' home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.local = LocalGrid(folder / "grid", die_with_parent=True)
        self.home = folder / "home"
        self.home.mkdir()
        self.engine: Engine | None = None

    def up(self, clusters: Mapping[str, int], **settings: str) -> None:
        self.local.up(clusters, QUICK | settings)
        self.engine = create_engine(config.load(str(self.local.layout.config)).database_url(), pool_size=0)

    def down(self) -> None:
        if self.engine is not None:
            self.engine.dispose()
        if (self.folder / "grid" / "lock").exists():
            self.local.down()

    def command(self, name: str, *words: str) -> str:
        module = "cigri.admin.gridadmin" if name == "gridadmin" else f"cigri.cli.{name}"
        return self.local.run(module, name, *words)

    def rows(self, query: LiteralString, *values: object) -> list[Any]:
        assert self.engine is not None
        with psycopg.connect(self.engine.url.set(drivername="postgresql").render_as_string()) as connection:
            return connection.execute(query, values).fetchall()

    def value(self, query: LiteralString, *values: object) -> Any:
        return self.rows(query, *values)[0][0]

    def submit(self, count: int, clusters: Mapping[str, int]) -> int:
        """A campaign of tasks that each leave a mark; its id."""
        script = self.home / "task"
        script.write_text('sleep 0.2; echo "$1" >>marks\n')
        lines = self.home / "lines"
        lines.write_text("".join(f"task-{number}\n" for number in range(count)))
        place = f'{{"exec_file": "sh {script}", "exec_directory": "{self.home}", "walltime": "0:10:00"}}'
        places = ", ".join(f'"{name}": {place}' for name in clusters)
        jdl = f'{{"name": "hostile", "param_file": "{lines}", "clusters": {{{places}}}}}'
        return int(self.command("gridsub", "-j", jdl).split("CAMPAIGN_ID=")[1].split()[0])

    def state(self, campaign: int) -> str:
        return str(self.value("SELECT state FROM campaigns WHERE id = %s", campaign))

    def done(self, campaign: int) -> int:
        return int(self.value("SELECT done FROM campaign_progress WHERE campaign_id = %s", campaign))

    def marks(self) -> Counter[str]:
        return Counter((self.home / "marks").read_text().split())

    def ask(self, cluster: str, method: str, path: str, **arguments: Any) -> Any:
        """A request straight to one of the clusters."""
        url = (self.local.layout.cluster(cluster) / "url").read_text().strip()
        token = self.local.layout.token(cluster).read_text().strip()
        reply = requests.request(
            method, f"{url}/{path}", headers={"Authorization": f"Bearer {token}"}, timeout=20, **arguments
        )
        reply.raise_for_status()
        return reply.json()

    def faults(self, cluster: str, *rules: dict[str, object], seed: int = 0) -> None:
        self.ask(cluster, "POST", "minioar/faults", json={"faults": list(rules), "seed": seed})

    def live(self, cluster: str) -> list[int]:
        """The jobs that live on a cluster, whosoever they are."""
        return [job["id"] for job in self.ask(cluster, "GET", "jobs", params={"limit": 100000})["items"]]

    def faulty_books(self) -> list[str]:
        assert self.engine is not None
        with transaction(self.engine) as session:
            return check.faults(session)

    def almighty(self) -> int | None:
        return self.local.daemons.running()

    def children(self) -> dict[int, str]:
        """The daemons that almighty has started: pid -> title."""
        return children(self.almighty() or -1)

    def daemons(self) -> dict[int, str]:
        """All daemons of this grid that live, whoever started them: those that hold a duty or stand by."""
        query = "SELECT pid FROM duties"
        there = {pid: title(pid) for (pid,) in self.rows(query) if "cigri" in title(pid)}
        return there | self.children()

    def until(self, done: Any, seconds: float, step: float = 0.1) -> bool:
        return processes.until(done, seconds, step)

    def log(self, name: str = "almighty") -> str:
        return self.local.layout.log(name).read_text(errors="replace")


def children(parent: int) -> dict[int, str]:
    """The living children of a process: pid -> command line."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_bytes()
        except OSError:
            continue
        fields = stat[stat.rindex(b")") + 2 :].split()
        if int(fields[1]) == parent and fields[0] not in (b"Z", b"X"):
            found[int(entry.name)] = title(int(entry.name))
    return found


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def alive(pid: int) -> bool:
    return processes.start_time(pid) is not None


@pytest.fixture
def whole() -> Iterator[Whole]:
    folder = Path(tempfile.mkdtemp(prefix="cigri-hostile-"))
    grid = Whole(folder)
    try:
        yield grid
    finally:
        grid.down()
        if os.environ.get("CIGRI_KEEP") != "yes":
            shutil.rmtree(folder)
