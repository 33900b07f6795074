"""nikita: deletes the jobs that are marked, marks those that are over their time, sweeps what belongs to nobody."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy import Engine, func

from cigri.clusters.base import RemoteJob, RemoteState
from cigri.config import Settings
from cigri.daemons.base import Daemon
from cigri.daemons.process import main
from cigri.daemons.sites import Site, Sites, is_ours
from cigri.daemons.sweeping import sweep
from cigri.daemons.turns import Turns
from cigri.db import clusters, events, grid, kills, strays
from cigri.db.engine import notify
from cigri.db.kills import Doomed, KillReason
from cigri.errors import ClusterError, ConfigError, NoAnswer, Refused, TokenRefused

log = logging.getLogger(__name__)

DELETIONS = 100  # sent to one cluster in one round, so that the others get their turn
OVERDUE_PERIOD = 60.0
SWEEP_RETRY = 5.0


class Nikita(Daemon):
    topics: ClassVar[frozenset[str]] = frozenset({"kills", "clusters"})
    min_cycle = 0.5

    def __init__(self, settings: Settings, engine: Engine) -> None:
        super().__init__(settings, engine, "nikita")
        self._sites = Sites(self)
        self._turns = Turns()
        self._more = False

    @property
    def period(self) -> float:
        return self.min_cycle if self._more else self.settings.daemon_period

    def drop(self) -> None:
        self._turns.forget()

    def close(self) -> None:
        super().close()
        self._sites.close()

    def cycle(self) -> str:
        """On each cluster: deletions that are due, jobs over their time, and now and then the sweep."""
        with self.transaction() as session:
            records = clusters.present(session)
            due = set(kills.clusters_due(session))
            away = events.away(session)
        self._more = False
        deleted = late = swept = 0
        for record in records:
            if record.id in away:
                continue  # the updater sees when it is back
            try:
                site = self._sites.site(record)
                deleted += self._kill(site) if record.id in due else 0
                late += self._mark_late(site)
                swept += self._sweep(site)
            except (ClusterError, ConfigError) as error:
                log.info("%s: %s", record.name, error)
        counts = ((deleted, "deletions sent"), (late, "jobs over their time"), (swept, "strays dealt with"))
        return ", ".join(f"{count} {what}" for count, what in counts if count)

    def _kill(self, site: Site) -> int:
        """Ask for the end of the marked jobs, each after a growing delay until its end is reported."""
        with self.transaction() as session:
            doomed = kills.due(session, site.id, DELETIONS)
            # Planned before anything is sent: a cluster that fails is not asked about the same ones at once.
            kills.put_off(session, [job.id for job in doomed], self.settings.kill_retry_delay)
        self._more = len(doomed) == DELETIONS
        remote = {job.id: job for job in site.cluster.jobs([job.remote_id for job in doomed])}
        clock = site.cluster.clock() if any(job.reason is KillReason.WALLTIME for job in doomed) else 0.0
        sent = 0
        refused: set[str] = set()
        for job in doomed:
            there = remote.get(job.remote_id)
            # A bare id identifies nothing: only what has our name and key is deleted.
            if there is None or there.state.final or not is_ours(there, job.name, job.id):
                continue
            if self._may_run(job, there, clock):
                continue
            if job.login not in refused:
                sent += self._delete(site, job, refused)
        return sent

    def _delete(self, site: Site, job: Doomed, refused: set[str]) -> bool:
        """Send a deletion. Where the cluster refuses a user, the others' jobs are deleted all the same."""
        try:
            site.acting(job.campaign_id).cluster.delete(job.login, job.remote_id)
        except TokenRefused as error:
            log.warning("%s: jobs of %s cannot be deleted: %s", site.name, job.login, error)
            refused.add(job.login)
            return False
        except (Refused, NoAnswer) as error:
            log.warning("%s: job %d cannot be deleted: %s", site.name, job.remote_id, error)
            site.cluster.check_health()  # raises when it is the cluster
            return False
        return True

    def _may_run(self, job: Doomed, there: RemoteJob, clock: float) -> bool:
        """Take the mark back of what was not to wait any longer and runs now, or may run longer than was known."""
        if job.reason in kills.IF_WAITING and there.state is RemoteState.RUNNING:
            with self.transaction() as session:
                kills.unmark(session, job.id)
            return True
        if job.reason is KillReason.WALLTIME and there.start_time and there.walltime is not None:
            over = there.start_time + there.walltime + self.settings.walltime_grace
            if over > clock:
                with self.transaction() as session:
                    kills.extend(session, job.id, there.walltime)
                return True
        return False

    def _mark_late(self, site: Site) -> int:
        if not self._turns.take("late", site.id, OVERDUE_PERIOD):
            return 0
        with self.transaction() as session:
            if not clusters.live_jobs(session, site.id) or events.is_blacklisted(session, site.id):
                return 0
        clock = site.cluster.clock()
        with self.transaction() as session:
            late = kills.mark_overdue(session, site.id, clock, self.settings.walltime_grace)
            if self.settings.remote_waiting_timeout:
                late |= kills.mark_queued_too_long(session, site.id, self.settings.remote_waiting_timeout)
        return len(late)

    def _sweep(self, site: Site) -> int:
        with self.transaction() as session:
            soon = strays.expected(session, site.id, self.settings.request_arrival_window)
            at_once = grid.unswept(session, site.id)
            period = self.settings.sweep_period if soon else self.settings.idle_sweep_period
            due = clusters.last_swept(session, site.id) >= period
        if not (at_once or due) or not self._turns.take("sweep", site.id, min(SWEEP_RETRY, self.settings.sweep_period)):
            return 0
        swept = sweep(site, everybody=at_once)
        if at_once and swept.skipped:
            log.error("%s: not used again before the jobs of %s can be swept", site.name, ", ".join(swept.skipped))
            return swept.found
        with self.transaction() as session:
            clusters.note(session, site.id, swept_at=func.now())
            notify(session, "jobs" if swept.found else "allowances")
        return swept.found


def run(arguments: Sequence[str]) -> int:
    return main("nikita", Nikita)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
