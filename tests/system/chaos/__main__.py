"""make chaos: seeds of misfortunes against whole grids, some at a time; one line for each seed."""

from __future__ import annotations

import argparse
import itertools
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from acts import ACTS, notes
from seed import CLUSTERS, Outcome, Seed, hand
from world import World

HERE = Path(__file__).resolve().parent
LONGEST = 600.0  # seconds that one seed may take before it counts as hung


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def leave(*_: object) -> None:
    raise KeyboardInterrupt


def work(seeds: list[int], keep: Path) -> int:
    """Play these seeds one after the other on one grid; a grid on which one failed is set aside. The exit code."""
    signal.signal(signal.SIGTERM, leave)
    bad, world = 0, None
    try:
        for number in seeds:
            if world is None:
                world = World(Path(tempfile.mkdtemp(prefix="cigri-chaos-")), CLUSTERS)
                world.up()
            outcome = Seed(world, number).play()
            say(outcome.line())
            if not outcome.good:
                bad += 1
                report(outcome, world, keep)
                put_away(world)
                world = None
    finally:
        if world is not None:
            put_away(world)
    return bad


def report(outcome: Outcome, world: World, keep: Path) -> None:
    """What is wrong, and where to look."""
    for problem in outcome.judgement.problems[:20]:
        say(f"    {problem}")
    place = keep / f"seed-{outcome.seed}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(world.grid.layout.folder / "log", place)
    for name in world.clusters:
        for file in ("jobs.sqlite", "jobs.sqlite-wal", "log"):
            shutil.copy(world.grid.layout.cluster(name) / file, place / f"{name}-{file}")
    for table in ("events", "jobs", "submissions", "tasks"):
        rows = world.rows(f"SELECT row_to_json(t)::text FROM {table} t ORDER BY id")  # type: ignore[arg-type]  # noqa: S608
        (place / f"{table}.json").write_text("\n".join(row[0] for row in rows))
    say(f"    logs and tables: {place}; again: make chaos SEED={outcome.seed}")


def put_away(world: World) -> None:
    world.down()
    shutil.rmtree(world.folder, ignore_errors=True)


def spread(seeds: list[int], jobs: int, keep: Path) -> int:
    """Share the seeds out among processes; the exit code."""
    parts = [part for part in (seeds[number::jobs] for number in range(jobs)) if part]
    workers = [
        subprocess.Popen(
            [sys.executable, str(HERE), "--keep", str(keep), "--work", ",".join(map(str, part))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for part in parts
    ]
    lines = gather(workers)
    codes = [worker.wait() for worker in workers]
    played = [line for line in lines if line.startswith("seed ")]
    summary(seeds, played)
    missing = len(seeds) - len(played)
    if missing:
        say(f"{missing} seeds were not played to their end: workers ended with {codes}")
    return 1 if missing or any(codes) or any("FAILED" in line for line in played) else 0


def gather(workers: list[subprocess.Popen[str]]) -> list[str]:
    """Say what the workers say, as it comes."""
    found = []
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            assert worker.stdout is not None
            selector.register(worker.stdout, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                line = key.fileobj.readline()  # type: ignore[union-attr]
                if not line:
                    selector.unregister(key.fileobj)
                else:
                    say(line.rstrip("\n"))
                    found.append(line.rstrip("\n"))
    return found


COUNTED = (
    *("requests spoilt", "tasks", "done", "failed and told", "cancelled", "look-ups", "adoptions", "returns", "swept"),
    *("take-overs", "duties lost", "duplicates", "losses"),
)


def summary(seeds: list[int], played: list[str]) -> None:
    """All seeds together."""
    faults = Counter(itertools.chain.from_iterable(hand(seed) for seed in seeds))
    sums: Counter[str] = Counter()
    for line in played:
        for count, what in re.findall(rf"(\d+) ({'|'.join(COUNTED)})", line):
            sums[what] += int(count)
    passed = sum(": passed" in line for line in played)
    say(f"{passed} of {len(seeds)} seeds passed: {', '.join(f'{count} {what}' for what, count in sums.items())}")
    say(f"{faults.total()} faults of {len(faults)} kinds (there are {len(ACTS)})")
    for note in notes():
        say(note)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--jobs", type=int, default=2, help="grids at a time")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "cigri-chaos", help="for failures")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        return work([int(word) for word in asked.work.split(",")], asked.keep)
    began = time.monotonic()
    seeds = [asked.seed] if asked.seed is not None else list(range(asked.first, asked.first + asked.seeds))
    asked.keep.mkdir(parents=True, exist_ok=True)
    code = spread(seeds, min(asked.jobs, len(seeds), os.cpu_count() or 1), asked.keep)
    say(f"{time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
