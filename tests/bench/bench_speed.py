"""What a task costs the grid: real daemons and PostgreSQL (with fsync), against a server whose jobs end at once.

python tests/bench/bench_speed.py [TASKS]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from figures import Figure, report, say
from measured_grid import MeasuredGrid, QuickOar, Usage, grid

SLOTS = 10_000
SETTINGS = {"RUNNER_CHUNK": "500", "RUNNER_MAX_WAITING": "10000", "LOG_LEVEL": "INFO"}


@dataclass(frozen=True, slots=True)
class Run:
    """A campaign from its submission until its last task is done."""

    tasks: int
    usage: Usage
    server: float  # seconds of processor of the servers, which are not the grid's

    @property
    def rate(self) -> float:
        return self.tasks / self.usage.at

    @property
    def milliseconds(self) -> float:
        return 1e3 * self.usage.processor / self.tasks

    def tell(self, what: str) -> None:
        each = 1e3 / self.tasks  # in milliseconds of each task
        say(
            f"{what}: {self.tasks} tasks in {self.usage.at:.1f} s: {self.rate:.0f} tasks/s; for each"
            f" {self.milliseconds:.3f} ms of processor ({each * self.usage.daemons:.3f} daemons,"
            f" {each * self.usage.database:.3f} PostgreSQL; {each * self.server:.3f} the clusters' servers),"
            f" {self.usage.requests / self.tasks:.4f} requests"
        )


def play(measured: MeasuredGrid, tasks: int) -> Run:
    """Submit a campaign and wait until it is done."""
    number = measured.submit(tasks)
    before, server = measured.usage(), sum(each.processor() for each in measured.servers.values())
    there = measured.done(number)
    measured.wait(number, tasks)
    after = measured.usage()
    server = sum(each.processor() for each in measured.servers.values()) - server
    return Run(tasks - there, after.since(before), server)


def through(runners: int, tasks: int) -> Run:
    servers = {f"c{number}": QuickOar(SLOTS, 0) for number in range(runners)}
    with grid(servers, **SETTINGS) as measured:
        play(measured, tasks // 10).tell("warm")
        run = play(measured, tasks)
        run.tell(f"through {runners} runner(s)")
    return run


def main() -> None:
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    one, four = through(1, tasks), through(4, tasks)
    report(
        "Jobs that end at once",
        [
            Figure("from pending to terminated through one runner", one.rate, "tasks/s", least=5000),
            Figure("the same over four runners, in parts of that", four.rate / one.rate, "", least=0.9),
            Figure("processor per task, daemons and PostgreSQL", one.milliseconds, "ms", most=0.25),
            Figure("HTTP requests per task", one.usage.requests / one.tasks, "", most=0.01),
        ],
    )


if __name__ == "__main__":
    main()
