"""The updater: counts the clusters' resources, reads stress and load, heals what can heal, records what is used."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from sqlalchemy import Engine, func
from sqlalchemy.orm import Session

from cigri.config import Settings
from cigri.daemons.base import Daemon
from cigri.daemons.process import main
from cigri.daemons.renewing import renew_tokens
from cigri.daemons.sensors import Sensors
from cigri.daemons.sites import Site, Sites
from cigri.daemons.turns import Turns
from cigri.db import clusters, events, loads, repair, upkeep
from cigri.db.engine import notify
from cigri.db.views import statistics
from cigri.errors import ClusterError, ConfigError

log = logging.getLogger(__name__)

IDLE_SENSE_PERIOD = 60.0
SENSE_PERIOD = 10.0  # seconds between two counts of a cluster's resources while it has jobs of ours
UPKEEP_PERIOD = 3600.0
TOKENS_PERIOD = 60.0
PATIENCE = 0.2  # seconds for load sensors that are quick; the others' loads are taken when they come


class Updater(Daemon):
    topics: ClassVar[frozenset[str]] = frozenset({"clusters", "campaigns"})
    min_cycle = 0.5

    def __init__(self, settings: Settings, engine: Engine) -> None:
        super().__init__(settings, engine, "updater")
        self._sites = Sites(self)
        self._turns = Turns()
        verify = (settings.rest_client_ca_file or True) if settings.rest_client_verify_ssl else False
        self._sensors = Sensors(verify)

    def drop(self) -> None:
        self._turns.forget()

    def close(self) -> None:
        super().close()
        self._sites.close()
        self._sensors.close()

    def cycle(self) -> str:
        """Look at each cluster whose turn it is; a cluster that fails does not keep the others."""
        with self.transaction() as session:
            records = clusters.present(session)
        self._read_loads()
        said = [done for record in records if record.enabled and (done := self._each(record.id, record.name))]
        usage = self.settings.grid_usage_update_period
        if usage and self._turns.take("usage", 0, usage):
            with self.transaction() as session:
                upkeep.record_usage(session)
        if self._turns.take("upkeep", 0, UPKEEP_PERIOD):
            with self.transaction() as session:
                statistics.forget_minutes(session, self.settings.campaign_throughput_window)
        return ", ".join(said)

    def _read_loads(self) -> None:
        """Begin to read the load sensors whose turn it is, and note what those said that have answered."""
        period = self.settings.load_sensor_period
        with self.transaction() as session:
            named = loads.named(session)
        due = [text for text in named if self._turns.take(f"load of {text}", 0, period)]
        self._sensors.begin(due, period)
        found = self._sensors.collect(PATIENCE if due else 0.0)
        if not (found or self._turns.take("loads", 0, period)):
            return
        with self.transaction() as session:
            for reading in found:
                loads.note(session, reading.sensor, reading.load, reading.fault)
            loads.forget(session, named)
            failing = loads.failing(session, period)
            for cluster_id, fault in failing:
                message = f"its load sensor gives no load: {fault}"
                events.record(session, events.News("LOAD_SENSOR_FAILED", message, cluster_id=cluster_id, count=0))
            events.forget(session, "LOAD_SENSOR_FAILED", but=[cluster_id for cluster_id, _ in failing])
            if found:
                notify(session, "jobs")

    def _each(self, cluster_id: int, name: str) -> str:
        try:
            with self.transaction() as session:
                record = clusters.by_id(session, cluster_id)
                busy = clusters.wanted(session, cluster_id)
                due = [event.id for event in events.due_probes(session, cluster_id)]
                away = cluster_id in events.away(session)
            if record is None:
                return ""
            site = self._sites.site(record)
            healed = self._heal(site, due) if due else ""
            if away and not healed:
                return ""
            if self._turns.take("tokens", cluster_id, TOKENS_PERIOD):
                renew_tokens(site)
            if self._turns.take("sense", cluster_id, SENSE_PERIOD if busy else IDLE_SENSE_PERIOD):
                self._sense(site)
            return healed
        except (ClusterError, ConfigError) as error:
            log.info("%s: %s", name, error)
            return ""

    def _heal(self, site: Site, due: list[int]) -> str:
        """Close the events that wait for the cluster to answer, if it does; else look again, ever later."""
        try:
            site.cluster.check_health()
        except ClusterError:
            with site.transaction() as session:
                events.put_off(session, due)
            raise
        with site.transaction() as session:
            closed = repair.fix(session, due, resubmit=False, healed=True).events
            notify(session, "clusters")
        log.info("%s: answers again, %d events closed", site.name, len(closed))
        return f"{site.name} answers again"

    def _sense(self, site: Site) -> None:
        resources = site.cluster.resources()
        stress = _stress(site)
        with site.transaction() as session:
            clusters.note(
                session,
                site.id,
                resources_total=resources.total,
                resources_unavailable=resources.unavailable,
                resources_free=resources.free,
                resources_besteffort=resources.usable_by_besteffort,
                unit_size=resources.unit_size,
                jobs_running=clusters.running_jobs(site.id),
                resources_at=func.now(),
                **stress,
            )
            if stress:
                self._tell_stress(session, site, stress["stress"])
            notify(session, "jobs")

    def _tell_stress(self, session: Session, site: Site, stress: float | None) -> None:
        limit = clusters.stress_limit(session, site.id) or self.settings.stress_factor
        if stress is None or stress < limit:
            if events.forget(session, "UNDER_STRESS", of=[site.id]):
                log.info("%s: not under stress any more", site.name)
        else:
            message = f"stress factor {stress:g}, at or over {limit:g}: no new jobs"
            events.record(session, events.News("UNDER_STRESS", message, cluster_id=site.id, count=0))


def _stress(site: Site) -> dict[str, Any]:
    """What to note of the stress factor: nothing when it cannot be read, so that what was known grows old."""
    try:
        stress = site.cluster.stress_factor()
    except ClusterError as error:
        log.info("%s: its stress factor cannot be read: %s", site.name, error)
        return {}
    return {"stress": stress, "stress_at": None if stress is None else func.now()}


def run(arguments: Sequence[str]) -> int:
    return main("updater", Updater)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
