"""The demonstration: a whole grid comes up, runs a campaign over two clusters, and goes away again."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any

from cigri.errors import CigriError
from cigri.local import api, sockets
from cigri.local.grid import LocalGrid

CLUSTERS = {"north": 6, "south": 4}
TASKS = 200
TASK = 'echo "task $1 on $(cat "$OAR_NODEFILE")"; sleep 0.$((RANDOM % 5))'
PATIENCE = 600.0
BAR = 40
LOG_LINES = 30


class Screen:
    """Says how far the campaign is: on a terminal in one line that changes, elsewhere now and then."""

    def __init__(self, live: bool) -> None:
        self.live = live
        self.told = (-1.0, -1)

    def say(self, text: str) -> None:
        """A line of its own."""
        print(text, flush=True)  # noqa: T201

    def progress(self, done: int, total: int) -> None:
        """How far it is."""
        if self.live:
            filled = BAR * done // total
            bar = "#" * filled + "." * (BAR - filled)
            sys.stdout.write(f"\r[{bar}] {done}/{total} ")
            sys.stdout.flush()
        elif done != self.told[1] and (done == total or time.monotonic() - self.told[0] >= 2):
            self.told = (time.monotonic(), done)
            self.say(f"  {done}/{total}")

    def over(self) -> None:
        """The line that changes is left."""
        if self.live:
            self.say("")


class Demo:
    """One demonstration in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.grid = LocalGrid(folder / "grid", die_with_parent=True)
        self.screen = Screen(sys.stdout.isatty())
        self.socket = self.grid.layout.api_socket

    def run(self) -> bool:
        """Run the campaign; whether every task succeeded."""
        began = time.monotonic()
        slots = ", ".join(f"{name} ({slots} slots)" for name, slots in CLUSTERS.items())
        self.screen.say(f"A grid of two clusters comes up in {self.folder}: {slots}")
        self.grid.up(CLUSTERS, {})
        self.screen.say(f"It is up after {time.monotonic() - began:.1f} s. A campaign of {TASKS} tasks, by gridsub:")
        campaign = self._submit()
        campaign_began = time.monotonic()
        record = self._follow(campaign)
        took = time.monotonic() - campaign_began
        self.screen.say(f"$ gridstat -c {campaign}")
        self.screen.say(self.grid.run("cigri.cli.gridstat", "gridstat", "-c", str(campaign)).rstrip())
        self._tell_statistics(campaign, took)
        self._take_down()
        done, total = record["finished_jobs"], record["total_jobs"]
        self.screen.say(f"CAMPAIGN_ID={campaign}")
        self.screen.say(f"Progress: {done}/{total} ({100 * done // max(total, 1)}%)")
        return bool(done == total == TASKS and record["state"] == "terminated")

    def _submit(self) -> int:
        results = self.folder / "results"
        results.mkdir()
        script = self.folder / "task.sh"
        script.write_text(f"{TASK}\n")
        settings = {
            "exec_file": f"bash {script}",
            "exec_directory": str(results),
            "walltime": "0:10:00",
        }
        jdl = {"name": "demo", "nb_jobs": TASKS, "clusters": dict.fromkeys(CLUSTERS, settings)}
        file = self.folder / "demo.jdl"
        file.write_text(json.dumps(jdl, indent=2) + "\n")
        self.screen.say(f"$ gridsub -f {file}")
        said = self.grid.run("cigri.cli.gridsub", "gridsub", "-f", str(file))
        self.screen.say(said.rstrip())
        found = re.search(r"^CAMPAIGN_ID=(\d+)$", said, re.MULTILINE)
        if found is None:
            raise CigriError("gridsub did not say CAMPAIGN_ID")
        return int(found[1])

    def _follow(self, campaign: int) -> Any:
        end = time.monotonic() + PATIENCE
        while True:
            record = api.get(self.socket, f"/campaigns/{campaign}")
            if record is not None:
                self.screen.progress(record["finished_jobs"], record["total_jobs"])
                if record["state"] in ("terminated", "cancelled"):
                    break
            if time.monotonic() > end:
                self.screen.over()
                raise CigriError(f"the campaign has not ended in {PATIENCE:.0f} s")
            time.sleep(0.3)
        self.screen.over()
        return record

    def _tell_statistics(self, campaign: int, took: float) -> None:
        by_cluster: dict[str, int] = {}
        for offset in range(0, TASKS, 100):
            page = api.get(self.socket, f"/campaigns/{campaign}/jobs?limit=100&offset={offset}") or {"items": []}
            for job in page["items"]:
                by_cluster[job["cluster"]] = by_cluster.get(job["cluster"], 0) + 1
        shares = ", ".join(f"{name}: {count}" for name, count in sorted(by_cluster.items()))
        self.screen.say(f"{TASKS} tasks in {took:.1f} s, {TASKS / took:.1f} tasks/s; by cluster: {shares}")

    def _take_down(self) -> None:
        self.grid.down()
        self.screen.say("The grid is down again.")

    def tell_logs(self) -> None:
        """Say what the grid said last: its logs go with the folder."""
        for name in ("almighty", "api"):
            log = self.grid.layout.log(name)
            if log.exists():
                lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
                self.screen.say("\n".join([f"--- the end of {log.name}", *lines]))

    def clean(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self.grid.layout.folder.is_dir():
            self.grid.down()
        shutil.rmtree(self.folder, ignore_errors=True)
        sockets.forget(self.grid.layout.folder)


def demonstrate() -> int:
    """Run the demonstration; the exit code. A signal ends it cleanly."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, leave)
    demo = Demo(Path(tempfile.mkdtemp(prefix="cigri-demo-")))
    try:
        if demo.run():
            return 0
        demo.tell_logs()
        return 1
    except CigriError:
        demo.tell_logs()
        raise
    except KeyboardInterrupt:
        demo.screen.say("\ninterrupted: everything is taken down")
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        demo.clean()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, previous)
