"""Misbehaviour on demand: what a network, a proxy or a wedged OAR may do to a request.

A rule is {"on": "POST /jobs" | "GET" | "*", "kind": ..., "when": "before" | "after" the work is done,
"probability": 0..1, "count": how often at most, "seconds": ...}. Kinds:

    close         the connection is closed without an answer
    reset         the connection is reset without an answer
    no_answer     nothing comes for `seconds` (3600), then the connection is closed
    delay         the request is taken `seconds` (1) after it came
    slow_reply    the request is taken at once, and the answer comes `seconds` (1) later
    late          nothing is answered, and the request is taken `seconds` (60) after it came, whoever still waits
    unauthorized  401, as for a token that has expired
    twice         the work is done twice, and 500 answered
    error_before  500, and nothing was done
    error_after   500, and it was done
    truncate      the answer is cut in the middle of its body
    garbage       200 with a body that is no JSON
    empty         200 with the body {}
    half_array    only the first half of an array is taken, and 500 answered
    hold_corpse   the jobs are taken, but stay in Hold, and 500 answered
    wedged        as OAR3 with a broken database session: 500 for jobs and resources, and jobs to be deleted
                  "do not exist"
"""

from __future__ import annotations

import random
from dataclasses import dataclass

KINDS = frozenset(
    {
        *("close", "reset", "no_answer", "delay", "error_before", "error_after"),
        *("truncate", "garbage", "empty", "half_array", "hold_corpse", "wedged"),
        *("slow_reply", "late", "unauthorized", "twice"),
    }
)


@dataclass(slots=True)
class Fault:
    """One rule."""

    on: str
    kind: str
    when: str = "after"
    probability: float = 1.0
    count: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault: {self.kind}")
        if self.when not in ("before", "after"):
            raise ValueError(f"a fault is before or after the work, not {self.when}")

    def concerns(self, method: str, path: str) -> bool:
        """Whether the rule is about such a request."""
        wanted, _, place = self.on.partition(" ")
        if wanted not in ("*", method):
            return False
        return not place or path == place or path.startswith(place.rstrip("/") + "/")


class Faults:
    """The rules in force; the same seed gives the same misfortunes."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self.chance = random.Random(0)
        self.told: dict[str, int] = {}

    def set(self, rules: list[Fault], seed: int) -> None:
        """Replace all rules."""
        self.rules = rules
        self.chance = random.Random(seed)
        self.told = {}

    def draw(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if one does."""
        for rule in self.rules:
            if not rule.concerns(method, path) or rule.count == 0:
                continue
            if rule.probability >= 1 or self.chance.random() < rule.probability:
                if rule.count is not None:
                    rule.count -= 1
                self.told[rule.kind] = self.told.get(rule.kind, 0) + 1
                return rule
        return None
