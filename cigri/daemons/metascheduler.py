"""The metascheduler: decides how many tasks of which campaign each cluster may take, and closes campaigns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy import Engine

from cigri.config import Settings
from cigri.core import control, scheduling
from cigri.daemons.base import Daemon
from cigri.daemons.process import main
from cigri.db import allowances, campaigns, endings, stages
from cigri.db.engine import notify


class Metascheduler(Daemon):
    topics: ClassVar[frozenset[str]] = frozenset({"campaigns", "jobs", "clusters"})
    min_cycle = 0.1

    def __init__(self, settings: Settings, engine: Engine) -> None:
        super().__init__(settings, engine, "metascheduler")

    def cycle(self) -> str:
        """Deal out what the clusters can take, then see which campaigns are over."""
        self._stage()
        allowed = self._allow()
        ended = self._close()
        self._clear()
        said = [f"{allowed} tasks allowed"] if allowed else []
        said += [f"campaigns ended: {', '.join(map(str, ended))}"] if ended else []
        return ", ".join(said)

    def _stage(self) -> None:
        """Open the prologues and epilogues that are due, each with a job for its cluster's runner."""
        with self.transaction() as session:
            dropped = stages.drop_needless(session)
            opened = stages.open_prologues(session) + stages.open_epilogues(session)
            if stages.launch_due(session) or opened or dropped:
                notify(session, "allowances")

    def _allow(self) -> int:
        """Replace the allowances; how many tasks are allowed now, 0 when nobody may take anything new."""
        with self.transaction() as session:
            allowances.lock(session)
            grants = {
                place.cluster_id: scheduling.share(
                    place.backlogs, control.order(place.load, self.settings.runner_max_waiting)
                )
                for place in allowances.situations(session, self.settings.stress_factor)
            }
            if not allowances.write(session, grants):
                return 0
            notify(session, "allowances")
        return sum(grant.tasks for dealt in grants.values() for grant in dealt)

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
                notify(session, "ended")
        return ended


def run(arguments: Sequence[str]) -> int:
    return main("metascheduler", Metascheduler)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
