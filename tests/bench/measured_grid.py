"""A whole grid of real daemons on quick_oar servers, with what it uses: seconds of processor, requests, memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from cigri import config
from cigri.local.grid import LocalGrid
from cigri.local.layout import QUICK

QUICK_OAR = Path(__file__).with_name("quick_oar.py")
TICK = os.sysconf("SC_CLK_TCK")
# Settings: the original's rule, as it was configured by default.
ORIGINAL = {
    "SUBMISSION_CONTROL": "tap",
    "RUNNER_MIN_CYCLE_DURATION": "15",
    "RUNNER_DEFAULT_INITIAL_NUMBER_OF_JOBS": "3",
    "RUNNER_TAP_INCREASE_FACTOR": "1.5",
    "RUNNER_TAP_INCREASE_MAX": "100",
    "RUNNER_TAP_GRACE_PERIOD": "60",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used until now."""

    at: float
    daemons: float  # seconds of processor, of all daemons
    database: float  # and of PostgreSQL
    by_kind: Counter[str]  # requests

    def since(self, before: Usage) -> Usage:
        return Usage(
            self.at - before.at,
            self.daemons - before.daemons,
            self.database - before.database,
            self.by_kind - before.by_kind,
        )

    @property
    def processor(self) -> float:
        return self.daemons + self.database

    @property
    def requests(self) -> int:
        return self.by_kind.total()


class QuickOar:
    """A quick_oar server as a process."""

    def __init__(self, slots: int, seconds: float, round_: float = 0.0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(QUICK_OAR), str(slots), str(seconds), str(round_)], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self._requests: Counter[str] = Counter()

    def requests(self) -> Counter[str]:
        """How many requests of each kind the grid has made of it so far."""
        with urllib.request.urlopen(f"{self.url}/count") as answer:
            self._requests.update(json.load(answer))
        return self._requests

    def end(self) -> None:
        """Let all its jobs end now."""
        with urllib.request.urlopen(f"{self.url}/end"):
            pass

    def processor(self) -> float:
        return seconds_of(self._process.pid)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class MeasuredGrid:
    """The daemons of a grid, PostgreSQL and clusters; settings are those of production where none are given."""

    def __init__(self, folder: Path, servers: Mapping[str, QuickOar], settings: Mapping[str, str]) -> None:
        self.grid = LocalGrid(folder, die_with_parent=True)
        self.servers = servers
        # What local mode makes quicker is as in production again.
        self.settings = production() | dict(settings)
        self._asking: psycopg.Connection[Any] | None = None

    def up(self) -> None:
        self.grid.up({}, self.settings)
        for name, server in self.servers.items():
            declared = ("cluster", "add", name, "--batch", "oar3", "--api-url", server.url, "--auth", "none")
            self.grid.gridadmin(*declared)

    def down(self) -> None:
        if self._asking is not None:
            self._asking.close()
        self.grid.down()
        for server in self.servers.values():
            server.stop()

    def submit(self, tasks: int) -> int:
        """A campaign of so many tasks on all clusters; its id."""
        parameters = self.grid.layout.folder / "parameters"
        parameters.write_text("".join(f"task{number} --seed {number}\n" for number in range(tasks)))
        clusters = {name: {"exec_file": "$HOME/simulate", "walltime": "01:00:00"} for name in self.servers}
        jdl = self.grid.layout.folder / "campaign.jdl"
        jdl.write_text(json.dumps({"name": "bench", "param_file": str(parameters), "clusters": clusters}))
        self.grid.run("cigri.cli.gridsub", "gridsub", "-f", str(jdl))
        return int(self.row("SELECT max(id) FROM campaigns")[0])

    def row(self, query: LiteralString, *values: object) -> Any:
        """The first row of the answer. Over one connection: a new one for each question costs PostgreSQL much more."""
        if self._asking is None:
            url = config.load(str(self.grid.layout.config)).database_url().replace("postgresql+psycopg", "postgresql")
            self._asking = psycopg.connect(url, autocommit=True)
        return self._asking.execute(query, values).fetchone()

    def done(self, campaign_id: int) -> int:
        return int(
            self.row("SELECT coalesce(sum(done), 0) FROM campaign_counts WHERE campaign_id = %s", campaign_id)[0]
        )

    def wait(self, campaign_id: int, tasks: int, longest: float = 900.0) -> None:
        """Until so many tasks of the campaign are done. Raises TimeoutError."""
        until = time.monotonic() + longest
        while (done := self.done(campaign_id)) < tasks:
            if time.monotonic() > until:
                raise TimeoutError(f"{done} of {tasks} tasks were done after {longest:g} s")
            time.sleep(0.05)

    def during(self, campaign_id: int, seconds: float) -> tuple[int, Usage]:
        """How many tasks of the campaign are done within so long, and what is used meanwhile."""
        done, before = self.done(campaign_id), self.usage()
        time.sleep(seconds)
        return self.done(campaign_id) - done, self.usage().since(before)

    def usage(self) -> Usage:
        almighty, postgres = self.grid.daemons.running(), self.grid.postgres.running()
        assert almighty is not None and postgres is not None
        requests = sum((server.requests() for server in self.servers.values()), Counter())
        return Usage(time.monotonic(), family(almighty), family(postgres), requests)

    def runner(self) -> int:
        """The pid of a runner."""
        return int(self.row("SELECT pid FROM duties WHERE name LIKE 'runner %%' ORDER BY name LIMIT 1")[0])


def production() -> dict[str, str]:
    """The periods that local mode changes, as they are by default."""
    defaults = config.Settings()
    return {name: str(getattr(defaults, name.lower())) for name in QUICK}


@contextlib.contextmanager
def grid(servers: Mapping[str, QuickOar], **settings: str) -> Iterator[MeasuredGrid]:
    """Such a grid for the block, in a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="cigri-bench-") as name:
        measured = MeasuredGrid(Path(name) / "grid", servers, settings)
        try:
            measured.up()
            yield measured
        finally:
            measured.down()


def seconds_of(pid: int) -> float:
    """Seconds of processor that a process has used, with its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICK


def family(pid: int) -> float:
    """The same for a process and all that come from it."""
    total = seconds_of(pid)
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += family(int(child))
    return total


def peak(pid: int) -> float:
    """Most megabytes that a process has had in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
