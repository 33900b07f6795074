"""The misfortunes of the schedule. Each begins at its time and says when, and how, it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import requests

from users import Users
from world import FAKETIME, Rule, World, faked_time, family

Undo = Callable[[], None]
TIMEOUT = 2.0  # REST_QUERIES_TIMEOUT of the grid
TAKEOVER = 8.5  # longer than DUTY_TIMEOUT and the next try of who stands by
DAEMONS = ("metascheduler", "updater", "nikita")


@dataclass
class Stage:
    """What an act has at hand. `later` plays something after so many seconds, `aside` while others play."""

    world: World
    users: Users
    chance: Random
    later: Callable[[float, Undo], None]
    aside: Callable[[Undo], None]

    def cluster(self) -> str:
        return self.chance.choice(sorted(self.world.clusters))

    def runner(self) -> str:
        return f"runner {self.cluster()}"


Act = Callable[[Stage], None]
ACTS: dict[str, Act] = {}


def act(name: str) -> Callable[[Act], Act]:
    """Put a function into the table."""

    def put(function: Act) -> Act:
        ACTS[name] = function
        return function

    return put


# --- what happens to requests


def spoil(rules: Sequence[Rule], seconds: float) -> Act:
    """These rules on one cluster, for so long."""

    def play(stage: Stage) -> None:
        cluster = stage.cluster()
        mine = [dict(rule) for rule in rules]
        stage.world.misbehave(cluster, mine)
        stage.later(seconds, partial(stage.world.behave, cluster, mine))

    return play


POST = "POST /jobs"
ONE = {"on": POST, "count": 1}
SPOILT: dict[str, tuple[Sequence[Rule], float]] = {
    "reply dropped after acceptance": ([ONE | {"kind": "close"}], 4),
    "request lost": ([ONE | {"kind": "close", "when": "before"}], 4),
    "reset after acceptance": ([ONE | {"kind": "reset"}], 4),
    "no answer, and it was done": ([ONE | {"kind": "no_answer", "seconds": 2 * TIMEOUT}], 4),
    "answer after the time-out": ([ONE | {"kind": "slow_reply", "seconds": TIMEOUT + 1}], 4),
    "request minutes late": ([ONE | {"kind": "late", "seconds": 3 * TIMEOUT}], 4),
    "deletions late": ([{"on": "DELETE", "kind": "late", "seconds": TIMEOUT + 1, "count": 3}], 5),
    "500, not done": ([{"on": POST, "kind": "error_before", "count": 2}], 4),
    "500, and done": ([{"on": POST, "kind": "error_after", "count": 2}], 4),
    "500 now and then": (
        [{"on": "*", "kind": kind, "probability": 0.1} for kind in ("error_before", "error_after")],
        3,
    ),
    "truncated": ([{"on": "*", "kind": "truncate", "probability": 0.2}], 3),
    "empty bodies": ([{"on": "*", "kind": "empty", "probability": 0.2}], 3),
    "garbage": ([{"on": "*", "kind": "garbage", "probability": 0.2}], 3),
    "half an array": ([ONE | {"kind": "half_array"}], 4),
    "Hold corpses": ([ONE | {"kind": "hold_corpse"}], 4),
    "surplus jobs": ([ONE | {"kind": "twice"}], 4),
    "wedged": ([{"on": "*", "kind": "wedged"}], 3),
    "wedged by a submission": ([ONE | {"kind": "close"}, {"on": "*", "kind": "wedged", "probability": 0.7}], 2.5),
    "token expired while settling": ([ONE | {"kind": "close"}, {"on": "GET", "kind": "unauthorized"}], 2.5),
    "token expired": ([{"on": "*", "kind": "unauthorized"}], 2.5),
    "slow": ([{"on": "*", "kind": "slow_reply", "probability": 0.3, "seconds": 0.7}], 3),
}
ACTS |= {name: spoil(rules, seconds) for name, (rules, seconds) in SPOILT.items()}


# --- what happens to processes


def killed(*names: str) -> Act:
    def play(stage: Stage) -> None:
        stage.world.kill(stage.chance.choice(names))

    return play


for _name in (*DAEMONS, "judas", "almighty", "api"):
    ACTS[f"SIGKILL {_name}"] = killed(_name)


@act("SIGKILL runner")
def _kill_runner(stage: Stage) -> None:
    for seconds in (0.0, 1.5, 3.5):
        stage.later(seconds, partial(stage.world.kill, stage.runner()))


@act("SIGKILL postgresql")
def _kill_postgresql(stage: Stage) -> None:
    stage.world.kill("postgresql")


@act("SIGKILL of a backend")
def _kill_backend(stage: Stage) -> None:
    """PostgreSQL ends all its sessions and recovers."""
    pid = stage.world.role("postgresql")
    backends = family(pid)[1:] if pid else []
    if backends:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stage.chance.choice(backends), signal.SIGKILL)


def paused(roles: Callable[[Stage], str], seconds: float, *, taken_over: bool = False) -> Act:
    """SIGSTOP, and SIGCONT later. `taken_over`: somebody stands by and gets the duty meanwhile."""

    def play(stage: Stage) -> None:
        role = roles(stage)
        pid = stage.world.role(role)
        if pid is None or role in stage.world.standing_by:
            return
        if taken_over:
            stage.world.stand_by(role)
            # It begins to wait for the duty before its holder falls silent.
            stage.later(1.5, partial(stage.world.stop_for, [pid], seconds))
            return
        pids = family(pid) if role == "postgresql" else [pid]
        stage.world.stop_for(pids, seconds)

    return play


ACTS["SIGSTOP daemon, taken over"] = paused(lambda stage: stage.chance.choice(DAEMONS), TAKEOVER, taken_over=True)
ACTS["SIGSTOP runner, taken over"] = paused(lambda stage: stage.runner(), TAKEOVER, taken_over=True)
ACTS["SIGSTOP runner"] = paused(lambda stage: stage.runner(), 5.5)
ACTS["SIGSTOP api"] = paused(lambda stage: "api", 3)
ACTS["SIGSTOP postgresql"] = paused(lambda stage: "postgresql", 3)


# --- what happens on the clusters


@act("cluster's server dies")
def _crash(stage: Stage) -> None:
    """It is started again by World.revive, with its jobs going on meanwhile."""
    stage.world.minioar(stage.cluster()).crash()


@act("cluster hangs")
def _hang(stage: Stage) -> None:
    mark = stage.world.minioar(stage.cluster()).running()
    if mark:
        pid = int(mark.split()[0])
        stage.world.stop_for([pid], TIMEOUT + 1)


@act("mass preemption")
def _preempt(stage: Stage) -> None:
    for cluster in stage.world.clusters:
        stage.world.knob(cluster, "kill_besteffort", {"count": 1000})


@act("nodes suspected")
def _suspect(stage: Stage) -> None:
    cluster = stage.cluster()
    stage.world.knob(cluster, "suspend_nodes", {"state": "Suspected"})
    stage.later(3, partial(stage.world.knob, cluster, "suspend_nodes", {"state": "Alive"}))


@act("stress")
def _stress(stage: Stage) -> None:
    cluster = stage.cluster()
    stage.world.knob(cluster, "stress", {"value": "0.99"})
    stage.later(2, partial(stage.world.knob, cluster, "stress", {"value": "0.0"}))


@act("ids jump")
def _jump(stage: Stage) -> None:
    for cluster in stage.world.clusters:
        stage.world.knob(cluster, "jump", {"by": 100000})


def some_jobs(stage: Stage, cluster: str, where: Callable[[sqlite3.Row], bool], count: int) -> list[int]:
    """Jobs of the grid on a cluster, from those that came last."""
    try:
        found = [row["id"] for row in stage.world.remote(cluster, 60) if where(row)]
    except sqlite3.OperationalError:
        return []
    return stage.chance.sample(found, min(count, len(found)))


def resubmitted(where: Callable[[sqlite3.Row], bool], hidden: float, count: int) -> Act:
    def play(stage: Stage) -> None:
        cluster = stage.cluster()
        for job in some_jobs(stage, cluster, where, count):
            stage.world.knob(cluster, "resubmit", {"job_id": job, "hidden_seconds": hidden})

    return play


def running(row: sqlite3.Row) -> bool:
    return bool(row["state"] == "Running" and not row["resubmit_job_id"])


def succeeded(row: sqlite3.Row) -> bool:
    return bool(row["state"] == "Terminated" and row["exit_code"] == 0 and not row["resubmit_job_id"])


ACTS["resubmitted by the cluster"] = resubmitted(running, 0, 3)
ACTS["resubmitted, copies invisible"] = resubmitted(running, 2.5, 3)
ACTS["resubmitted after exit 0"] = resubmitted(succeeded, 1, 2)


def vanish(seconds: float, *, wholly: bool) -> Act:
    def play(stage: Stage) -> None:
        cluster = stage.cluster()
        jobs = some_jobs(stage, cluster, lambda row: row["state"] in ("Waiting", "Running"), 4)
        stage.world.hidden |= {(cluster, job) for job in jobs}
        stage.world.knob(cluster, "hide", {"job_ids": jobs, "seconds": seconds, "wholly": wholly})

    return play


ACTS["jobs vanish from lists"] = vanish(3, wholly=False)
ACTS["jobs vanish"] = vanish(3, wholly=True)
ACTS["jobs vanish for longer than is waited"] = vanish(10, wholly=True)


@act("oardel by hand")
def _oardel(stage: Stage) -> None:
    cluster = stage.cluster()
    for job in some_jobs(stage, cluster, lambda row: row["state"] in ("Waiting", "Running"), 2):
        with contextlib.suppress(OSError, requests.RequestException):
            stage.world.ask(cluster, "DELETE", f"jobs/{job}")


@act("clock of a cluster")
def _cluster_clock(stage: Stage) -> None:
    """It is restarted with a clock that is minutes off; without libfaketime it is only restarted."""
    minioar = stage.world.minioar(stage.cluster())
    minioar.crash()
    before = minioar.environment
    minioar.environment = before | faked_time(stage.chance.choice((-200, 200)))
    stage.later(5, partial(_right_clock, minioar, before))


def _right_clock(minioar: Any, before: dict[str, str]) -> None:
    minioar.environment = before
    minioar.crash()


@act("clock of the daemons")
def _daemon_clock(stage: Stage) -> None:
    """almighty and all daemons die and come back with a clock that is minutes off."""
    stage.world.kill("almighty")
    stage.world.daemon_clock = faked_time(stage.chance.choice((-200, 200)))
    stage.later(5, partial(_right_daemons, stage.world))


def _right_daemons(world: World) -> None:
    world.daemon_clock = {}
    world.kill("almighty")


# --- what users do


@act("campaign cancelled")
def _cancel(stage: Stage) -> None:
    left = [campaign for campaign in stage.users.campaigns if not campaign.cancelled]
    if len(left) > 2:
        stage.aside(partial(stage.users.cancel, stage.chance.choice(left)))


@act("paused and resumed")
def _pause(stage: Stage) -> None:
    campaign = stage.chance.choice(stage.users.campaigns)

    def pause() -> None:
        stage.users.change(campaign, "hold")
        time.sleep(2)
        stage.users.change(campaign, "resume")

    stage.aside(pause)


@act("tasks added")
def _add(stage: Stage) -> None:
    campaign = stage.chance.choice(stage.users.campaigns)
    lines = stage.users.lines(15, 0.3)
    stage.aside(partial(stage.users.add, campaign, lines))


@act("job killed by its owner")
def _kill_job(stage: Stage) -> None:
    campaign = stage.chance.choice(stage.users.campaigns)
    query = "SELECT id FROM jobs WHERE campaign_id = %s AND kind = 'task' AND state = 'running' LIMIT 2"
    for (job,) in stage.world.rows(query, campaign.id):
        stage.aside(partial(stage.users.kill_job, campaign, job))


def notes() -> list[str]:
    """What cannot be played on this machine."""
    if faked_time(1):
        return []
    return [f"clocks minutes off: skipped, libfaketime is not installed ({FAKETIME})"]
