"""What a task costs the grid: real daemons and PostgreSQL (with fsync), against a server whose jobs end at once.

python tests/bench/bench_speed.py [TASKS]
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from figures import Figure, report, say
from measured_grid import ORIGINAL, MeasuredGrid, QuickOar, Usage, grid

SLOTS = 10_000
# Under the original's rule, which would take half an hour for so many.
MANY, WARM, MEASURED = 10_000, 20.0, 60.0
SETTINGS = {"RUNNER_MAX_WAITING": "10000", "LOG_LEVEL": "INFO"}  # as large as the cluster


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

    @property
    def requests(self) -> float:
        return self.usage.requests / self.tasks

    def tell(self, what: str) -> None:
        each = 1e3 / self.tasks  # in milliseconds of each task
        say(
            f"{what}: {self.tasks} tasks in {self.usage.at:.1f} s: {self.rate:.0f} tasks/s; for each"
            f" {self.milliseconds:.3f} ms of processor ({each * self.usage.daemons:.3f} daemons,"
            f" {each * self.usage.database:.3f} PostgreSQL; {each * self.server:.3f} the clusters' servers),"
            f" {self.requests:.4f} requests"
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


def original() -> Run:
    """The same daemons under the original's rule, with the rate that it has after two minutes of growth."""
    grown = {"RUNNER_DEFAULT_INITIAL_NUMBER_OF_JOBS": ORIGINAL["RUNNER_TAP_INCREASE_MAX"]}
    server = QuickOar(SLOTS, 0)
    with grid({"c0": server}, **SETTINGS | ORIGINAL | grown) as measured:
        campaign = measured.submit(MANY)
        time.sleep(WARM)
        used = server.processor()
        tasks, usage = measured.during(campaign, MEASURED)
        run = Run(tasks, usage, server.processor() - used)
        run.tell("by the original's rule")
    return run


def main() -> None:
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    one, four, theirs = through(1, tasks), through(4, tasks), original()
    report(
        "Jobs that end at once",
        [
            Figure(
                "from pending to terminated through one runner", one.rate, "tasks/s", least=5000, original=theirs.rate
            ),
            Figure("the same over four runners, in parts of that", four.rate / one.rate, "", least=0.9),
            Figure(
                "processor per task, daemons and PostgreSQL",
                one.milliseconds,
                "ms",
                most=0.25,
                original=theirs.milliseconds,
            ),
            Figure("HTTP requests per task", one.requests, "", most=0.01, original=theirs.requests),
        ],
    )


if __name__ == "__main__":
    main()
