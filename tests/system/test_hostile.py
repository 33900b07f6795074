"""Whole processes under attack: every task succeeds once, the books balance, and no hand is needed."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections import Counter

import pytest

log = logging.getLogger(__name__)

TASKS = 1000
CLUSTERS = {"a": 12, "b": 12}
PATIENCE = 110.0
ATTACK = 45.0  # seconds; a machine that is slow at starting processes gets peace after that
# How often each is hit. almighty takes all others with it, and they need seconds to be up again.
ROLES = {"almighty": 1, "metascheduler": 6, "updater": 6, "nikita": 6, "judas": 2} | {
    f"runner {name}": 6 for name in CLUSTERS
}

pytestmark = pytest.mark.timeout(200)


def check_the_end(whole, campaign: int) -> None:
    """Nothing was lost, nothing was done twice, nothing is left over."""
    story = whole.rows("SELECT code, state, count, left(message, 200) FROM events ORDER BY id DESC LIMIT 20")
    assert whole.state(campaign) == "terminated", story
    assert whole.done(campaign) == TASKS
    marks = whole.marks()
    assert len(marks) == TASKS
    assert {task: count for task, count in marks.items() if count != 1} == {}
    assert whole.faulty_books() == []
    for cluster in CLUSTERS:
        whole.faults(cluster)
        assert whole.until(lambda cluster=cluster: whole.live(cluster) == [], 10), whole.live(cluster)
    waiting = "SELECT code FROM events WHERE state = 'open'"
    assert whole.until(lambda: whole.rows(waiting) == [], 20), whole.rows(waiting)


def tell(whole, began: float, what: str) -> None:
    submissions = dict(whole.rows("SELECT state::text, count(*) FROM submissions GROUP BY 1"))
    given_back = whole.value("SELECT coalesce(sum(cardinality(void_jobs)), 0) FROM submissions")
    lost = whole.log().count("it will be looked up")
    events = dict(whole.rows("SELECT code, sum(count) FROM events GROUP BY 1 ORDER BY 1"))
    log.warning(
        "%.0f s, %s; submissions %s, %d replies lost, %d jobs given back, events %s",
        *(time.monotonic() - began, what, submissions, lost, given_back, events),
    )


def kill(whole, role: str) -> bool:
    """Send SIGKILL to the process of a role; False if none is at work in it just now."""
    living = {title: pid for pid, title in whole.children().items() if title.startswith("cigri ")}
    if living and (almighty := whole.almighty()) is not None:
        living["cigri almighty"] = almighty
    if (pid := living.get(f"cigri {role}")) is None:
        return False
    os.kill(pid, signal.SIGKILL)
    return True


def test_daemons_are_killed_every_second(whole) -> None:
    whole.up(CLUSTERS, RUNNER_CHUNK="50")
    chance, killed = random.Random(5), Counter[str]()
    campaign = whole.submit(TASKS, CLUSTERS)
    began = last = time.monotonic()
    while whole.state(campaign) == "in_treatment" and time.monotonic() - began < PATIENCE:
        if whole.almighty() is None:
            whole.local.daemons.process.wait()
            whole.local.daemons.start()
        if time.monotonic() - last >= 1 and time.monotonic() - began < ATTACK:
            last = time.monotonic()
            (role,) = chance.choices(list(ROLES), ROLES.values())
            killed[role] += kill(whole, role)
        time.sleep(0.1)
    tell(whole, began, f"{killed.total()} killed: {dict(killed)}")
    assert killed.total() >= 8
    if whole.almighty() is None:
        whole.local.daemons.start()
    check_the_end(whole, campaign)


@pytest.mark.parametrize(
    "rules",
    [
        [{"on": "POST /jobs", "kind": kind, "probability": 0.05} for kind in ("close", "reset", "no_answer")]
        + [{"on": "POST /jobs", "kind": "close", "when": "before", "probability": 0.05}],
        [{"on": "*", "kind": kind, "probability": 0.025} for kind in ("error_before", "error_after")],
    ],
    ids=["replies of submissions get lost", "answers are 500"],
)
def test_the_network_misbehaves(whole, rules: list[dict[str, object]]) -> None:
    whole.up(CLUSTERS)
    for seed, cluster in enumerate(CLUSTERS):
        whole.faults(cluster, *rules, seed=seed)
    campaign = whole.submit(TASKS, CLUSTERS)
    began = time.monotonic()
    whole.until(lambda: whole.state(campaign) != "in_treatment", PATIENCE)
    struck = Counter[str]()
    for cluster in CLUSTERS:
        struck += Counter(whole.ask(cluster, "GET", "minioar/faults")["struck"])
    tell(whole, began, f"struck: {dict(struck)}")
    assert set(struck) >= {rule["kind"] for rule in rules}
    check_the_end(whole, campaign)
