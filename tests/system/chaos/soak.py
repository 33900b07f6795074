"""make soak: many tasks over four clusters that misbehave all the time; the daemons' memory must stay flat."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import psycopg

from acts import ACTS, SPOILT
from ledger import Judgement
from seed import Seed, counted
from world import World, children

CLUSTERS = {"a": 16, "b": 16, "c": 16, "d": 16}
# LOOK_BACK: the hour that sweeps look back is scaled, too, else all of the soak would be one hour's jobs.
SETTINGS = {"RUNNER_CHUNK": "50", "REST_QUERIES_TIMEOUT": "10", "SWEEP_PERIOD": "5", "IDLE_SWEEP_PERIOD": "20"}
SETTINGS |= {"LOOK_BACK": "60"}
CAMPAIGN = 5000  # tasks
FLAT = 0.10
EVERY = 4.0  # seconds between two misfortunes
SAMPLE = 5.0
# What leaves the daemons' processes alive: their memory is to be seen.
GENTLE = sorted(
    {*SPOILT, "cluster's server dies", "cluster hangs", "mass preemption", "nodes suspected", "stress", "ids jump"}
    | {"resubmitted by the cluster", "resubmitted, copies invisible", "resubmitted after exit 0"}
    | {"jobs vanish from lists", "jobs vanish", "SIGKILL of a backend", "SIGKILL api", "SIGSTOP postgresql"}
)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def memory(pid: int) -> int:
    """The memory of a process that is its own, in KiB."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


class Soak(Seed):
    """One very long seed."""

    def __init__(self, world: World, number: int, tasks: int) -> None:
        super().__init__(world, number)
        self.tasks = tasks
        self.samples: dict[str, list[tuple[float, int]]] = defaultdict(list)  # daemon -> (part done, KiB)
        self.faults = 0

    def soak(self) -> Judgement:
        for start in range(0, self.tasks, CAMPAIGN):
            count = min(CAMPAIGN, self.tasks - start)
            self.users.submit("alice", count, sorted(self.world.clusters), longest=0.1)
        self._every(SAMPLE, self._sample)
        self._every(EVERY, self._misfortune)
        told = 0.0
        while (part := self.part()) < 1:
            self._turn()
            if part - told >= 0.05:
                told = part
                say(f"  {part:.0%} after {time.monotonic() - self.began:.0f} s, {self.faults} faults")
        self.agenda.clear()
        self._calm()
        return self._judge()

    def part(self) -> float:
        """How much of the tasks is where it will stay."""
        query = "SELECT coalesce(sum(done + failed + cancelled), 0) FROM campaign_progress"
        with contextlib.suppress(psycopg.Error):
            return float(self.world.rows(query)[0][0]) / self.tasks
        return 0.0

    def _turn(self) -> None:
        """What is due by now, then a moment's rest."""
        while self.agenda and self.agenda[0][0] <= time.monotonic():
            self.act()
        self.world.revive()
        self.users.close_events()
        time.sleep(0.5)

    def _every(self, seconds: float, what: Callable[[], None]) -> None:
        def again() -> None:
            what()
            self.later(seconds, again)

        self.later(seconds, again)

    def _misfortune(self) -> None:
        self.faults += 1
        ACTS[self.chance.choice(GENTLE)](self.stage)

    def _sample(self) -> None:
        part = self.part()
        for pid, title in children(self.world.almighty() or -1).items():
            if title.startswith("cigri "):
                self.samples[title].append((part, memory(pid)))

    def tell(self) -> bool:
        """The memory of each daemon by quarters of the work; whether it is flat."""
        flat = True
        for title, samples in sorted(self.samples.items()):
            quarters = [
                mean([size for part, size in samples if number <= 4 * part < number + 1]) for number in range(4)
            ]
            growth = quarters[3] / quarters[0] - 1 if quarters[0] else 0.0
            flat &= growth <= FLAT
            sizes = ", ".join(f"{size / 1024:.1f}" if size else "-" for size in quarters)
            say(f"{title}: {sizes} MiB by quarters ({growth:+.1%})")
        return flat


def mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--tasks", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    world = World(Path(tempfile.mkdtemp(prefix="cigri-soak-")), CLUSTERS, **SETTINGS)
    try:
        world.up()
        soak = Soak(world, asked.seed, asked.tasks)
        judgement = soak.soak()
        flat = soak.tell()
        said = counted(world.said({}))
        for problem in judgement.problems[:20]:
            say(f"    {problem}")
        tasks = judgement.tasks
        say(
            f"{tasks['total']} tasks in {time.monotonic() - soak.began:.0f} s under {soak.faults} faults:"
            f" {tasks['done']} done, {tasks['failed']} failed and told; {said['look-ups']} look-ups,"
            f" {said['adoptions']} adoptions, {said['returns']} returns, {said['sweeps']} swept,"
            f" {judgement.duplicates} duplicates, {judgement.losses} losses, {len(judgement.problems)} things wrong"
        )
        return 0 if flat and not judgement.problems else 1
    finally:
        world.down()
        shutil.rmtree(world.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
