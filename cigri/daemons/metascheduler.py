"""The metascheduler: decides how many tasks of which campaign each cluster may take, and closes campaigns."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import ClassVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cigri.config import Settings
from cigri.core import control, finish, scheduling
from cigri.daemons.base import Daemon
from cigri.daemons.ordering import Ordering
from cigri.daemons.process import main
from cigri.db import allowances, campaigns, endings, shares, stages
from cigri.db.engine import notify

LEAST_CYCLE = 0.1


class Metascheduler(Daemon):
    topics: ClassVar[frozenset[str]] = frozenset({"campaigns", "jobs", "clusters"})
    min_cycle = LEAST_CYCLE

    def __init__(self, settings: Settings, engine: Engine) -> None:
        super().__init__(settings, engine, "metascheduler")
        self._ordering = Ordering(settings)

    def drop(self) -> None:
        self._ordering.forget()

    def cycle(self) -> str:
        """Deal out what the clusters can take, then see which campaigns are over."""
        began = time.monotonic()
        self._stage()
        allowed = self._allow()
        ended = self._close()
        self._clear()
        # With very much to deal out, however often it is called, it rests three times as long as it works.
        self.min_cycle = max(LEAST_CYCLE, 4 * (time.monotonic() - began))
        said = [f"{allowed} tasks allowed"] if allowed else []
        said += [f"campaigns ended: {', '.join(map(str, ended))}"] if ended else []
        return ", ".join(said)

    def _stage(self) -> None:
        """Open the prologues and epilogues that are due, and launch as many as may go ahead of tasks."""
        with self.transaction() as session:
            dropped = stages.drop_needless(session)
            opened = stages.open_prologues(session) + stages.open_epilogues(session)
            if self._launch(session) or opened or dropped:
                notify(session, "allowances")

    def _launch(self, session: Session) -> int:
        due = stages.due(session)
        if not due:
            return 0
        flying = allowances.flying(session)
        loads = allowances.loads(session, self.settings.stress_factor, flying)
        waiting: dict[int, list[tuple[int, str]]] = defaultdict(list)
        for number, each in enumerate(due):
            if each.cluster_id in loads:
                waiting[each.cluster_id].append((number, each.user))
        ahead = {
            place: min(len(line), _room_ahead(loads[place], flying.get(place, ()))) for place, line in waiting.items()
        }
        launched = []
        for place, room in self._ordering.within(session, loads, allowances.in_flight(flying), ahead).items():
            had: Counter[str] = Counter()
            for there in flying.get(place, ()):
                had[there.user] += there.ahead
            launched += [due[number] for number in scheduling.by_turns(waiting[place], had, room)]
        return stages.launch(session, launched)

    def _allow(self) -> int:
        """Replace the allowances; how many tasks are allowed now, 0 when nobody may take anything new."""
        with self.transaction() as session:
            allowances.lock(session)
            grants = self._share(session)
            if not allowances.write(session, grants):
                return 0
            notify(session, "allowances")
        return sum(grant.tasks for dealt in grants.values() for grant in dealt)

    def _share(self, session: Session) -> dict[int, list[scheduling.Grant]]:
        """Bring the virtual times to the present and deal out what the clusters can take."""
        settings = self.settings
        charges = shares.take_charges(session)
        flying = allowances.flying(session)
        loads = allowances.loads(session, settings.stress_factor, flying)
        there = allowances.in_flight(flying)
        orders = self._ordering.orders(session, loads, there)
        wanting = [cluster_id for cluster_id, jobs in orders.items() if jobs]
        ledgers = shares.read(session, {*wanting, *charges}, settings.usage_half_life)
        for cluster_id, ended in charges.items():
            for charge in ended:
                ledgers.of_cluster[cluster_id].charge(charge)
        found = allowances.backlogs(session, {each: loads[each] for each in wanting}, flying)
        backlogs = self._last_tasks(session, found, orders, flying)
        grants = {}
        for cluster_id in wanting:
            hungry = backlogs.get(cluster_id, [])
            others = allowances.others(flying.get(cluster_id, ()), hungry)
            grants[cluster_id] = scheduling.share(ledgers.of_cluster[cluster_id], hungry, orders[cluster_id], others)
        shares.write(session, ledgers)
        self._ordering.dealt(there, {each: sum(grant.tasks for grant in dealt) for each, dealt in grants.items()})
        return grants

    @staticmethod
    def _last_tasks(
        session: Session, backlogs: finish.Backlogs, orders: Mapping[int, int], flying: allowances.InFlight
    ) -> finish.Backlogs:
        """Where campaigns are near their end, each cluster gets only what no quicker one ends before it would."""
        live = {
            # Of choosy campaigns only what runs has a slot.
            cluster_id: {
                each.campaign_id: each.running if each.choosy else each.live for each in flying.get(cluster_id, ())
            }
            for cluster_id in orders
        }
        ending = finish.near_end(backlogs, orders, live)
        if not ending:
            return backlogs
        return finish.limited(backlogs, orders, live, allowances.speeds(session, ending))

    def _clear(self) -> None:
        """Cancel what is left of large cancelled campaigns, a part in each round."""
        with self.transaction() as session:
            if campaigns.clear(session):
                notify(session, "campaigns")

    def _close(self) -> list[int]:
        with self.transaction() as session:
            ended = endings.terminate_finished(session)
            if ended:
                allowances.forget_ended(session)
                shares.forget_ended(session)
                notify(session, "ended")
        return ended


def _room_ahead(load: control.Load, there: Sequence[allowances.Flying]) -> int:
    """How many more jobs of a cluster may go ahead of their turn."""
    return scheduling.slots_ahead(control.slots(load)) - sum(each.ahead for each in there)


def run(arguments: Sequence[str]) -> int:
    return main("metascheduler", Metascheduler)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
