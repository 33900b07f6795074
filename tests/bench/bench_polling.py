"""What following jobs costs: tasks of a second on 64 slots, under both rules; and a grid with nothing to do."""

from __future__ import annotations

import time

from figures import Figure, report, say
from measured_grid import ORIGINAL, QuickOar, Usage, grid, seconds_of

SLOTS = 64
SECONDS = 1.0
ROUND = 1.0  # seconds between two scheduling rounds of the cluster
WARM, RAMP, MEASURED = 30.0, 180.0, 60.0  # the original takes minutes to its largest rate
IDLE, PERIOD = 30.0, 0.5
SENSORS = {"/resources?detailed", "/jobs?details,states", "/stress_factor"}  # resources, those that are taken, stress


def busy(warm: float, **settings: str) -> tuple[float, float]:
    """The part of the slots that was used, and requests per task."""
    with grid({"c0": QuickOar(SLOTS, SECONDS, ROUND)}, **settings) as measured:
        campaign = measured.submit(200 * SLOTS)
        time.sleep(warm)
        done, usage = measured.during(campaign, MEASURED)
    used = done * SECONDS / (SLOTS * usage.at)
    say(f"{settings}: {done} tasks in {usage.at:.0f} s, {used:.2f} of the slots, {usage.requests} requests")
    return used, usage.requests / max(1, done)


def idle(seconds: float, **settings: str) -> tuple[float, Usage]:
    """Seconds of processor of a runner with nothing to do for so long, and what all used meanwhile."""
    with grid({"c0": QuickOar(SLOTS, SECONDS)}, **settings) as measured:
        measured.wait(measured.submit(SLOTS), SLOTS)
        time.sleep(15)
        runner = measured.runner()
        used, before = seconds_of(runner), measured.usage()
        time.sleep(seconds)
        usage = measured.usage().since(before)
        say(f"idle, {settings}: {usage.processor:.2f} s of processor in {usage.at:.0f} s, {dict(usage.by_kind)}")
        return seconds_of(runner) - used, usage


def main() -> None:
    used, requests = busy(WARM)
    original = busy(RAMP, **ORIGINAL)
    runner, quick = idle(IDLE, DAEMON_PERIOD=str(PERIOD))
    _, usual = idle(MEASURED)
    more = sum(count for kind, count in (quick.by_kind + usual.by_kind).items() if kind not in SENSORS)
    report(
        "Tasks of 1 s on 64 slots, and nothing to do",
        [
            Figure("part of the slots that is used", used, original=original[0]),
            Figure("HTTP requests per task", requests, most=0.05, original=original[1]),
            Figure("a runner's round with nothing to do", 1e3 * runner * PERIOD / IDLE, "ms", most=5),
            Figure("HTTP requests with nothing to do, beyond the sensors", more, "", most=0),
            Figure("all daemons and PostgreSQL with nothing to do", 1e3 * usual.processor / usual.at, "ms/s"),
        ],
    )


if __name__ == "__main__":
    main()
