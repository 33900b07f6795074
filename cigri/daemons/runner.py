"""The runner of one cluster: settles what is unsettled, follows its jobs, claims and submits."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy import Engine

from cigri.config import Settings
from cigri.daemons.base import Daemon
from cigri.daemons.following import Follower
from cigri.daemons.process import main
from cigri.daemons.settling import Settler
from cigri.daemons.sites import Site, Sites
from cigri.daemons.submitting import Submitter
from cigri.daemons.trouble import Trouble
from cigri.db import clusters
from cigri.errors import CigriError, ClusterError

# Seconds for which one thread may keep the other waiting, a tenth of Python's own: both wait for PostgreSQL or a
# cluster most of the time, and an answer that has come should not wait, too.
SWITCH_INTERVAL = 0.0005


class ClusterGone(CigriError):
    """The runner's cluster is not declared any more."""


class Runner(Daemon):
    """One per cluster; `cluster` is its name."""

    topics: ClassVar[frozenset[str]] = frozenset({"allowances", "clusters"})
    min_cycle = 0.05

    def __init__(self, settings: Settings, engine: Engine, cluster: str) -> None:
        super().__init__(settings, engine, f"runner {cluster}")
        self._cluster = cluster
        self._sites = Sites(self)
        self._settler = Settler()
        self._follower = Follower()
        self._submitter = Submitter(self._follower.ended_at_once)
        self._trouble: Trouble | None = None
        self._followed = float("-inf")
        self._busy = False

    @property
    def period(self) -> float:
        """While it has jobs to follow a runner looks at every turn; else it waits to be woken."""
        busy = self._busy or self._settler.waiting
        return self.settings.runner_min_cycle_duration if busy else self.settings.daemon_period

    def drop(self) -> None:
        self._settler.forget()
        self._followed = float("-inf")

    def close(self) -> None:
        super().close()
        self._submitter.close()
        self._sites.close()

    def cycle(self) -> str:
        """Settle, follow, submit: in this order, so that what is known is true when jobs are added to it."""
        site = self._site()
        self._trouble = self._trouble or Trouble(site.id, site.name)
        try:
            return self._work(site) if self._busy or self._settler.waiting else ""
        except ClusterError as error:
            self._busy = True
            self._trouble.happened(error, self.transaction, self.settings.autofix_delay)
            return ""

    def _work(self, site: Site) -> str:
        settled = ended = 0
        whole = (elapsed := time.monotonic() - self._followed) >= self.settings.runner_min_cycle_duration
        if whole:
            self._followed = time.monotonic()
            settled = self._settler.round(site)
            there, ended = self._follower.round(site, min(elapsed, 60.0))
            self._busy = there > 0
        sent = self._submitter.round(site, self._follower.seen_alive) if site.enabled else 0
        self._busy = self._busy or sent > 0
        # Without jobs to follow it is the submission alone that tells whether the cluster answers.
        if whole and self._trouble is not None:
            self._trouble.over()
        counts = (("submitted", sent), ("ended", ended), ("submissions looked up", settled))
        return ", ".join(f"{count} {what}" for what, count in counts if count)

    def _site(self) -> Site:
        """The cluster as it is declared now; and whether there is anything to do."""
        with self.transaction() as session:
            record = clusters.by_name(session, self._cluster)
            self._busy = self._busy or (record is not None and clusters.has_work(session, record.id))
        if record is None:
            raise ClusterGone(f"cluster {self._cluster} is not declared any more")
        self.writer = record.id
        return self._sites.site(record)


def run(arguments: Sequence[str]) -> int:
    """Run the runner of the cluster named by the only argument."""
    (cluster,) = arguments
    sys.setswitchinterval(SWITCH_INTERVAL)
    return main(f"runner {cluster}", lambda settings, engine: Runner(settings, engine, cluster))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
