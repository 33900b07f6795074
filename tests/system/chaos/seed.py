"""One seed: campaigns run while a schedule of misfortunes plays; then there is calm, and the books are judged."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

import psycopg
from sqlalchemy.exc import DBAPIError

from acts import ACTS, TIMEOUT, Stage
from ledger import Judgement, Ledger
from users import Users
from world import World, until

HAND = 9  # misfortunes of one seed
ATTACK = 8.0  # seconds in which they begin
PATIENCE = 240.0  # seconds of calm after which what is not over never will be
CLUSTERS = {"a": 6, "b": 6}


@dataclass
class Outcome:
    """What a seed did."""

    seed: int
    acts: list[str]
    seconds: float = 0.0
    judgement: Judgement = field(default_factory=Judgement)
    said: Counter[str] = field(default_factory=Counter)
    spoilt: int = 0  # requests

    @property
    def good(self) -> bool:
        return not self.judgement.problems

    def line(self) -> str:
        """One line that says what it was."""
        tasks, said = self.judgement.tasks, self.said
        return (
            f"seed {self.seed}: {'passed' if self.good else 'FAILED'} in {self.seconds:.0f} s;"
            f" {len(self.acts)} faults ({', '.join(self.acts)}), {self.spoilt} requests spoilt;"
            f" {tasks['total']} tasks: {tasks['done']} done, {tasks['failed']} failed and told,"
            f" {tasks['cancelled']} cancelled; {said['look-ups']} look-ups, {said['adoptions']} adoptions,"
            f" {said['returns']} returns, {said['sweeps']} swept, {said['take-overs']} take-overs,"
            f" {said['refusals']} duties lost, {self.judgement.duplicates} duplicates, {self.judgement.losses} losses"
        )


def hand(seed: int) -> list[str]:
    """The misfortunes of a seed: packs are dealt out one after the other, so that each comes every few seeds."""
    names = sorted(ACTS)
    first, dealt = seed * HAND, []
    for number in range(first, first + HAND):
        pack, place = divmod(number, len(names))
        dealt.append(Random(pack).sample(names, len(names))[place])
    return dealt


class Seed:
    """The play of one seed on a grid that is up."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.chance = Random(number)
        self.users = Users(world, self.chance)
        self.users.marks = world.home / f"marks-{number}"
        self.agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.began = time.monotonic()
        self.asides: list[threading.Thread] = []
        self.complaints: list[str] = []
        self.stage = Stage(world, self.users, self.chance, self.later, self.aside)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.agenda, (time.monotonic() + seconds, next(self.order), what))

    def aside(self, what: Callable[[], None]) -> None:
        """In a thread: users wait for answers while misfortunes go on, and come to their ends."""

        def run() -> None:
            try:
                what()
            except Exception as error:  # noqa: BLE001 - whatever it is, the seed has failed
                self.complaints.append(f"a user: {error!r}")

        self.asides.append(threading.Thread(target=run, daemon=True))
        self.asides[-1].start()

    def play(self) -> Outcome:
        """Attack, calm, judgement."""
        outcome = Outcome(self.number, hand(self.number))
        places = self.world.log_places()
        self.world.hidden.clear()
        self.world.struck.clear()
        self._submit()
        self._note("submitted")
        for name in outcome.acts:
            self.later(self.chance.uniform(0.3, ATTACK), lambda act=ACTS[name]: act(self.stage))
        self._attack()
        self._note("attacked")
        self._calm()
        outcome.judgement = self._judge()
        self._note("judged")
        outcome.spoilt = self.world.struck.total()
        outcome.judgement.problems += self.complaints
        outcome.seconds = time.monotonic() - self.began
        outcome.said = counted(self.world.said(places))
        self._tidy()
        return outcome

    def _note(self, what: str) -> None:
        """When what was over, for who looks why a seed takes long (CIGRI_CHAOS_TIMES=yes)."""
        if os.environ.get("CIGRI_CHAOS_TIMES") == "yes":
            sys.stderr.write(f"seed {self.number}: {what} after {time.monotonic() - self.began:.1f} s\n")

    def _submit(self) -> None:
        """Campaigns of several users: on both clusters, with a prologue and an epilogue, on one cluster only."""
        both = sorted(self.world.clusters)
        self.users.submit("alice", 60, both)
        self.users.submit("bob", 25, both, prologue=["sleep 0.1"], epilogue=["sleep 0.1"])
        self.users.submit("bob", 12, both, longest=2.5)
        self.users.submit("carol", 25, [self.chance.choice(both)])

    def _attack(self) -> None:
        """Play what is on the agenda until it is empty."""
        while self.agenda:
            due = self.agenda[0][0]
            if due <= time.monotonic():
                self.act()
                continue
            self.world.revive()
            time.sleep(min(0.1, max(0.0, due - time.monotonic())))

    def act(self) -> None:
        """Play what is next on the agenda."""
        _, _, what = heapq.heappop(self.agenda)
        with contextlib.suppress(psycopg.Error, DBAPIError):  # the database is away: the act falls flat
            what()

    def _calm(self) -> None:
        """Everything works again: wait until all is over, and was swept."""
        self.world.resume_all()
        for name in list(self.world.standing_by):
            self.world.stand_by_no_more(name)
        self.world.revive()
        for cluster in self.world.clusters:
            until(partial(self._heal, cluster), PATIENCE)
        until(lambda: self.world.revive() or not any(user.is_alive() for user in self.asides), PATIENCE)
        until(self._over, PATIENCE)
        self._note("over")
        self._swept(2)
        self._note("swept")

    def _heal(self, cluster: str) -> bool:
        """What was wrong with a cluster is so no more, also where it was away when an act was to end."""
        self.world.revive()
        self.world.behave(cluster)
        nodes = self.world.knob(cluster, "suspend_nodes", {"state": "Alive"})
        return nodes is not None and self.world.knob(cluster, "stress", {"value": "0.0"}) is not None

    def _over(self) -> bool:
        self.world.revive()
        self.users.close_events()
        ids = [campaign.id for campaign in self.users.campaigns]
        ((left,),) = self.world.rows(
            """SELECT (SELECT count(*) FROM campaigns WHERE id = ANY(%s) AND (ended_at IS NULL OR clearing))
                      + (SELECT count(*) FROM jobs WHERE state NOT IN ('terminated', 'event'))
                      + (SELECT count(*) FROM submissions WHERE state = 'sending')""",
            ids,
        )
        return left == 0

    def _swept(self, times: int) -> None:
        """Wait until each cluster was swept so often from now on."""
        query = "SELECT count(*) FROM cluster_status WHERE swept_at > %s"
        for _ in range(times):
            with contextlib.suppress(psycopg.Error):
                ((now,),) = self.world.rows("SELECT now()")
                until(lambda now=now: self.world.rows(query, now)[0][0] == len(self.world.clusters), 30)

    def _judge(self) -> Judgement:
        """The books as they are in the end: what only takes a little longer is not wrong."""
        judgement = Judgement(["the books cannot be read"])

        def right() -> bool:
            nonlocal judgement
            ids = [campaign.id for campaign in self.users.campaigns]
            judgement = Ledger(self.world, ids, self.users.marks, TIMEOUT).judge()
            return not judgement.problems

        until(right, 30, 1.0)
        return judgement

    def _tidy(self) -> None:
        """Close what is open, for the next seed."""
        self.users.close_events()


WORDS = {
    "look-ups": r"it will be looked up|cannot be listed|submissions looked up",
    "adoptions": r"found and adopted",
    "returns": r"never arrived: its tasks go back",
    "take-overs": r"is silent for over",
    "refusals": r"somebody else has it now|not sure to have it any more|taken over by somebody else|lost with its conn",
    "sweeps": r"belongs to nobody here: deleted|succeeded after it had been given up|surplus job",
}


def counted(log: str) -> Counter[str]:
    """How often the daemons say that they did what."""
    return Counter({what: len(re.findall(words, log)) for what, words in WORDS.items()})
