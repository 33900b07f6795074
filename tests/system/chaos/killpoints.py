"""make killpoints: kill each daemon at each statement and each request of one full life, and judge every life."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing import Process, connection
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg

from cigri.db.migrate import migrate
from cigri.local.postgres import EmbeddedPostgres
from ledger import Judgement
from lives import MAKERS, SCENARIOS, Ground, live

Point = tuple[str, str, int]  # scenario, victim, number


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def work(url: str, folder: Path, points: Sequence[Point], answers: Connection) -> None:
    """Live these lives one after the other; an answer for each."""
    folder.mkdir()
    ground = Ground(folder, url)
    try:
        for scenario, victim, number in points:
            life = live(ground, SCENARIOS[scenario], victim, number)
            said = life.judgement
            answers.send(((scenario, victim, number), life.died, life.rounds, said))
            if said.problems:
                break  # what is wrong stays in the database
    finally:
        ground.close()
        answers.close()


def contexts(rounds: Sequence[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """For each point of a life: it, and what went before it since the last COMMIT of its round."""
    for points in rounds:
        context: list[str] = []
        for point in points:
            context.append(point)
            yield tuple(context)
            if point == "COMMIT":
                context = []


class Run:
    """All points, shared out among processes with a database and a cluster each."""

    def __init__(self, postgres: EmbeddedPostgres, folder: Path, jobs: int) -> None:
        self.postgres = postgres
        self.folder = folder
        self.jobs = jobs
        self.made = 0
        self.bad: list[str] = []
        self.kills = Counter[tuple[str, str]]()
        self.missed = Counter[tuple[str, str]]()
        self.duplicates = self.losses = 0
        self.rounds: dict[tuple[str, str], list[list[str]]] = {}
        self.chosen: dict[tuple[str, str], list[int]] = {}
        with psycopg.connect(postgres.conninfo, autocommit=True) as base:
            base.execute("CREATE DATABASE template_cigri")
        migrate(psycopg.conninfo.make_conninfo(postgres.conninfo, dbname="template_cigri"))

    def _database(self) -> str:
        name = f"life_{self.made}"
        with psycopg.connect(self.postgres.conninfo, autocommit=True) as base:
            base.execute(f"CREATE DATABASE {name} TEMPLATE template_cigri")
        return self.postgres.url.replace("@/postgres?", f"@/{name}?")

    def play(self, points: Sequence[Point]) -> None:
        """Live the lives of these points; a process that found something wrong is not sent on."""
        workers = []
        for number in range(self.jobs):
            part = points[number :: self.jobs]
            if not part:
                continue
            self.made += 1
            ours, theirs = connection.Pipe(duplex=False)
            arguments = (self._database(), self.folder / f"ground-{self.made}", part, theirs)
            workers.append((Process(target=work, args=arguments), ours))
            workers[-1][0].start()
            theirs.close()
        open_ends = [ours for _, ours in workers]
        answered = 0
        while open_ends:
            for end in connection.wait(open_ends):
                try:
                    answer = end.recv()  # type: ignore[union-attr]
                except EOFError:
                    open_ends.remove(end)  # type: ignore[arg-type]
                    continue
                answered += 1
                if answered % 100 == 0:
                    say(f"  {answered} of {len(points)} lives lived")
                self._note(*answer)
        for process, _ in workers:
            process.join()
        if answered < len(points):
            self.bad.append(f"{len(points) - answered} lives were not lived")

    def choose(self, *, everything: bool) -> list[Point]:
        """The points of the lives that nothing was killed in.

        What follows on the same statements and requests since the last COMMIT is the same point, wherever it is met
        again: it is played once, unless `everything` is wanted.
        """
        seen: set[tuple[str, ...]] = set()
        for place in self.rounds:
            self.chosen[place] = []
            for number, context in enumerate(contexts(self.rounds[place]), 1):
                if everything or (place[1], *context) not in seen:
                    seen.add((place[1], *context))
                    self.chosen[place].append(number)
        return [(*place, number) for place, numbers in self.chosen.items() for number in numbers]

    def _note(self, point: Point, died: bool, rounds: list[list[str]], said: Judgement) -> None:
        scenario, victim, number = point
        if number:
            (self.kills if died else self.missed)[scenario, victim] += 1
        else:
            self.rounds[scenario, victim] = rounds
        self.duplicates += said.duplicates
        self.losses += said.losses
        for problem in said.problems:
            self.bad.append(f"{scenario}, {victim} killed at {number}: {problem}")
            say(self.bad[-1])

    def tell(self) -> None:
        """What was done, in a line for each scenario and daemon."""
        for place, rounds in sorted(self.rounds.items()):
            points = [point for number in rounds for point in number]
            requests = sum(bool(re.match("[A-Z]+ ?http", point)) for point in points)
            replies, commits = points.count("reply"), points.count("COMMIT")
            statements = len(points) - requests - replies - commits
            say(
                f"{place[0]}: {place[1]}: {len(rounds)} rounds with {statements} statements, {commits} commits,"
                f" {requests} requests; killed {self.kills[place]} times where it is a new one"
                + (f", {self.missed[place]} points were not reached again" if self.missed[place] else "")
            )
        say(
            f"{self.kills.total()} kills, {len(self.bad)} things wrong, {self.duplicates} duplicates,"
            f" {self.losses} losses"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make killpoints", description=__doc__)
    parser.add_argument("--jobs", type=int, default=3, help="lives at a time")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="this one only")
    parser.add_argument("--victim", choices=sorted(MAKERS), help="this daemon only")
    parser.add_argument("--point", type=int, help="this point only")
    parser.add_argument("--all", action="store_true", help="also the points that are alike")
    asked = parser.parse_args()
    began = time.monotonic()
    places = [
        (scenario.name, victim)
        for scenario in SCENARIOS.values()
        for victim in scenario.victims
        if asked.scenario in (None, scenario.name) and asked.victim in (None, victim)
    ]
    folder = Path(tempfile.mkdtemp(prefix="cigri-killpoints-"))
    try:
        with EmbeddedPostgres(None, durable=False, die_with_parent=True) as postgres:
            run = Run(postgres, folder, asked.jobs)
            run.play([(*place, asked.point or 0) for place in places])
            if not asked.point:
                run.play(run.choose(everything=asked.all))
            run.tell()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"{time.monotonic() - began:.0f} s")
    return 1 if run.bad else 0


if __name__ == "__main__":
    sys.exit(main())
