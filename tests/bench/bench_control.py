"""The controller against OAR's rounds in virtual time, and the original's tap in the same run.

python tests/bench/bench_control.py [SEED]; plots are left in build/bench/control_*.svg.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from chart import chart
from figures import BUILD, Figure, report, say
from oar_rounds import OAR2, OAR3, Oar, Rounds, Sums, World
from senders import Adaptive, Bag, Original, Sender

DAY = 86400.0
QUICK = Rounds(spacing=0.2, starts=1000.0)
BOTH: tuple[type[Sender], ...] = (Adaptive, Original)
Line = list[tuple[float, float]]


def step(seed: int) -> list[Figure]:
    """(a) A thousand cores become free at once."""
    figures = []
    lines: dict[str, Line] = {}
    cases = (
        ("OAR 2.5: 5 s", OAR2, 3.0),
        ("OAR3: each minute", Rounds(60.0, on_submission=False), 3.0),
        # It schedules upon what comes in, and to accept 1,000 jobs takes 5 s: as many rounds as there are requests.
        ("OAR3: 1 s", Rounds(1.0), 3.0),
    )
    for what, rounds, most in cases:
        took: dict[str, Sums] = {}
        for kind in BOTH:
            world = World()
            oar = Oar(world, rounds, [(0.0, 1000)])
            kind(world, oar, Bag(7200.0, seed))
            world.run(0.0)
            line: Line = []
            if rounds is OAR2:
                lines[kind.name] = line
                watch(world, oar, line, 900.0)
            world.run(3600.0, lambda oar=oar: oar.free == 0)  # type: ignore[misc]
            oar.add_up()
            took[kind.name] = oar.sums.copy()
            world.run(900.0)
        ours, theirs = (took[kind.name] for kind in BOTH)
        # The round at the beginning found no job yet.
        figures.append(
            Figure(f"1,000 cores are filled, {what}", ours.rounds - 1, "rounds", most=most, original=theirs.rounds - 1)
        )
        figures.append(Figure(f"  {what}: the same", ours.time, "s", original=theirs.time))
    plot("control_step", [("Cores taken of 1,000, rounds of 5 s", "s", lines, 1000.0)])
    return figures


def watch(world: World, oar: Oar, line: Line, until: float, every: float = 2.0) -> None:
    """Note what runs now and then."""

    def look() -> None:
        line.append((world.now, float(oar.cores - oar.free)))
        if world.now < until:
            world.after(every, look)

    look()


def steady(seed: int) -> list[Figure]:
    """(b) Tasks without end."""
    figures = []
    cases = (
        ("600 s, 1,000 cores, OAR 2.5", OAR2, 1000, 600.0, 0.97),
        ("60 s, 400 cores, OAR 2.5", OAR2, 400, 60.0, 0.97),
        ("10 s, 100 cores, OAR 2.5", OAR2, 100, 10.0, 0.97),
        ("600 s, 1,000 cores, OAR3", OAR3, 1000, 600.0, 0.97),
        ("60 s, 400 cores, OAR3", OAR3, 400, 60.0, 0.97),
        ("10 s, 100 cores, OAR3", OAR3, 100, 10.0, 0.97),
        ("1 s, 64 slots, quick rounds", QUICK, 64, 1.0, 0.90),
    )
    for what, rounds, cores, length, least in cases:
        found = {kind.name: _steady(kind, seed, rounds, cores, length) for kind in BOTH}
        ours, theirs = (found[kind.name] for kind in BOTH)
        figures += [
            Figure(f"use, tasks of {what}", ours.use, least=least, original=theirs.use),
            Figure(f"  {what}: of all core-seconds", ours.busy / ours.left, original=theirs.busy / theirs.left),
            Figure(f"  {what}: mean queue", _queue(ours), "rounds'", most=2.0, original=_queue(theirs)),
            Figure(f"  {what}: in rounds of its own", ours.queue_in_rounds, "rounds'", original=theirs.queue_in_rounds),
            Figure(f"  {what}: the same", ours.queue / ours.time, "jobs", original=theirs.queue / theirs.time),
        ]
    return figures


def _steady(kind: type[Sender], seed: int, rounds: Rounds, cores: int, length: float) -> Sums:
    world = World()
    oar = Oar(world, rounds, [(0.0, cores)])
    kind(world, oar, Bag(length, seed))
    world.run(max(300.0, 3 * length))
    oar.add_up()
    before = oar.sums.copy()
    world.run(world.now + max(600.0, min(3600.0, 120 * length), 6 * length))
    oar.add_up()
    return oar.sums.since(before)


def _queue(sums: Sums) -> float:
    """The mean queue in rounds' worth: of the cluster's rounds or of the runner's looks, whichever are longer."""
    round_ = max(sums.time / sums.rounds, Adaptive.period)
    return sums.queue_in_rounds * (sums.time / sums.rounds) / round_


def owners(seed: int, cores: int, days: float) -> list[tuple[float, int]]:
    """When owners take and leave cores: their own jobs, more by day than by night, first come, first served."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    now, busy_until = 0.0, sorted([0.0] * cores)
    changes: dict[float, int] = {0.0: 0}
    while now < days * DAY:
        hour = now / 3600 % 24
        rate = (1.0 + 0.8 * math.sin((hour - 8) / 24 * 2 * math.pi)) / 240.0
        now += chance.expovariate(rate)
        size = min(cores, max(1, round(chance.lognormvariate(1.8, 1.2))))
        lasts = min(DAY / 2, chance.lognormvariate(7.5, 1.2))
        start = max(now, busy_until[size - 1])
        busy_until[:size] = [start + lasts] * size
        busy_until.sort()
        changes[start] = changes.get(start, 0) + size
        changes[start + lasts] = changes.get(start + lasts, 0) - size
    taken, found = 0, []
    for at in sorted(changes):
        taken += changes[at]
        found.append((at, cores - taken))
    return [(at, left) for at, left in found if at < days * DAY]


def trace(seed: int) -> list[Figure]:
    """(c) Owners' jobs come and go on 256 cores for a day or two; forty campaigns wait."""
    figures = []
    cores = 256
    lines: dict[str, Line] = {}
    for length, days in ((60.0, 1.0), (600.0, 2.0)):
        taken = owners(seed, cores, days)
        lines["left by owners"] = _hourly(taken, days)
        found: dict[str, Sums] = {}
        for kind in BOTH:
            world = World()
            oar = Oar(world, OAR2, taken)
            kind(world, oar, Bag(length, seed, tasks=round(20_000 * 60 / length), campaigns=40))
            if length == 600.0:
                lines[kind.name] = line = []
                watch(world, oar, line, days * DAY, 1800.0)
            world.run(days * DAY)
            oar.add_up()
            found[kind.name] = oar.sums
        ours, theirs = (found[kind.name] for kind in BOTH)
        figures += [
            Figure(
                f"owners come and go, tasks of {length:g} s: harvested",
                ours.done / ours.left,
                "of left",
                original=theirs.done / theirs.left,
            ),
            Figure(
                f"  {length:g} s: preempted", ours.wasted / ours.left, "of left", original=theirs.wasted / theirs.left
            ),
            Figure(f"  {length:g} s: mean queue", ours.queue / ours.time, "jobs", original=theirs.queue / theirs.time),
        ]
    hours = {name: [(x / 3600, y) for x, y in line] for name, line in lines.items()}
    plot("control_trace", [("Cores of 256: left by owners, and used", "h", hours, float(cores))])
    return figures


def _hourly(changes: Sequence[tuple[float, int]], days: float) -> Line:
    line, rest, left = [], list(changes), 0
    for half in range(round(days * 48)):
        while rest and rest[0][0] <= half * 1800.0:
            left = rest.pop(0)[1]
        line.append((half * 1800.0, float(left)))
    return line


@dataclass
class Server:
    """A file server whose load is a mean over a minute of what jobs and others do; 1 is its reference."""

    world: World
    jobs: int  # that make a load of 0.8
    seed: int
    lag: float = 60.0
    load: float = 0.2
    seen: Line = field(default_factory=list)
    _working: int = 0
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)  # noqa: S311 - a simulation

    def read(self) -> float:
        """What its sensor says: give or take five per cent."""
        return self.now() * self._chance.gauss(1.0, 0.05)

    def now(self) -> float:
        others = 0.2 + 0.05 * math.sin(self.world.now / 3000.0)
        aim = others + 0.8 * self._working / self.jobs
        self.load += (aim - self.load) * (1 - math.exp((self._at - self.world.now) / self.lag))
        self._at = self.world.now
        return self.load

    def works(self, running: int) -> None:
        self.now()
        self._working = running

    def watch(self) -> None:
        self.seen.append((self.world.now, self.now()))
        self.world.after(5.0, self.watch)


def served(seed: int) -> list[Figure]:
    """(d) A file server that can serve 300 of the 1,000 jobs for which there are cores."""
    figures = []
    lines: dict[str, Line] = {}
    for length in (60.0, 600.0, 3600.0):
        seen: dict[str, Line] = {}
        sums: dict[str, Sums] = {}
        for kind in BOTH:
            world = World()
            server = Server(world, 300, seed)
            oar = Oar(world, OAR2, [(0.0, 1000)])
            oar.changed = lambda oar=oar, server=server: server.works(oar.running)  # type: ignore[misc]
            kind(world, oar, Bag(length, seed), server.read)
            server.watch()
            world.run(4 * 3600.0)
            oar.add_up()
            seen[kind.name], sums[kind.name] = server.seen, oar.sums
        settled = {name: [load for at, load in line if at > 2400.0] for name, line in seen.items()}
        off = [max(abs(load - 1) for load in settled[kind.name]) for kind in BOTH]
        over = [max(load for _, load in seen[kind.name]) - 1 for kind in BOTH]
        work = [sums[kind.name].busy / (300 * sums[kind.name].time) for kind in BOTH]
        figures += [
            Figure(
                f"file server, tasks of {length:g} s: farthest from its reference after 40 min",
                off[0],
                most=0.2,
                original=off[1],
            ),
            Figure(f"  {length:g} s: overshoot", over[0], most=0.1, original=over[1]),
            Figure(f"  {length:g} s: work done, of what it can serve", work[0], original=work[1]),
        ]
        if length == 600.0:
            lines = {name: [(at / 60, load) for at, load in line] for name, line in seen.items()}
    plot("control_server", [("Load of a file server, its reference is 1; tasks of 10 min", "min", lines, 2.0)])
    return figures


def plot(name: str, panels: list[tuple[str, str, dict[str, Line], float]]) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / f"{name}.svg").write_text(chart(panels), encoding="utf-8")


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    figures = []
    for part in (step, steady, trace, served):
        began = time.monotonic()
        figures += part(seed)
        say(f"{part.__name__}: {time.monotonic() - began:.0f} s")
    report("One cluster under control, in virtual time", figures)


if __name__ == "__main__":
    main()
