"""Whether a task costs more when a million others wait; and the memory of a runner with 50,000 jobs in flight."""

from __future__ import annotations

import time

from figures import Figure, report, say
from measured_grid import MeasuredGrid, QuickOar, grid, peak

SLOTS = 10_000
SETTINGS = {"RUNNER_MAX_WAITING": "10000"}
FEW, MANY, MEASURED, WARM = 10_000, 1_000_000, 20_000, 5_000
FLIGHT = 50_000


def cost(measured: MeasuredGrid, waiting: int) -> float:
    """Milliseconds of processor for a task while at least so many wait."""
    campaign = measured.submit(waiting + MEASURED + WARM)
    measured.wait(campaign, WARM)
    done, before = measured.done(campaign), measured.usage()
    measured.wait(campaign, done + MEASURED)
    done, usage = measured.done(campaign) - done, measured.usage().since(before)
    found = 1e3 * usage.processor / done
    say(f"{waiting} waiting: {done} tasks in {usage.at:.1f} s, {found:.3f} ms each")
    return found


def costs() -> tuple[float, float]:
    with grid({"c0": QuickOar(SLOTS, 0)}, **SETTINGS) as measured:
        few = cost(measured, FEW)
        measured.row("UPDATE campaigns SET state = 'paused' RETURNING 1")
        many = cost(measured, MANY)
    return few, many


def memory() -> tuple[float, float]:
    """Most megabytes of a runner with many jobs in flight; and when all of them have ended at once, too."""
    server = QuickOar(FLIGHT, 1e9)
    with grid({"c0": server}, **SETTINGS | {"RUNNER_MAX_WAITING": "100000"}) as measured:
        campaign = measured.submit(FLIGHT)
        until = time.monotonic() + 300
        while (run := measured.row("SELECT count(*) FROM jobs WHERE state = 'running'")[0]) < FLIGHT:
            if time.monotonic() > until:
                raise TimeoutError(f"{run} of {FLIGHT} jobs ran after 300 s")
            time.sleep(1)
        time.sleep(20)
        flying = peak(measured.runner())
        server.end()
        measured.wait(campaign, FLIGHT, 300)
        return flying, peak(measured.runner())


def main() -> None:
    few, many = costs()
    flying, ended = memory()
    report(
        "Large numbers",
        [
            Figure("processor per task with 10,000 waiting", few, "ms"),
            Figure("the same with 1,000,000, in parts of that", many / few, most=1.2),
            Figure("largest memory of a runner with 50,000 jobs in flight", flying, "MB", most=150),
            Figure("the same when all 50,000 have ended at once", ended, "MB", most=150),
        ],
    )


if __name__ == "__main__":
    main()
