"""The outer loop: orders are lowered where a cluster's stress or the load of a file server is too high."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from cigri.config import Settings
from cigri.core import ceiling
from cigri.core.ceiling import STRESS_REFERENCE, Need
from cigri.core.control import Load, slots
from cigri.db import loads as readings
from cigri.db.loads import Known, Sensor

Key = int | str  # a cluster, for its stress; or a sensor


class Throttle:
    """Ceilings move with the readings and live in the database; what is kept here is how far they were used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reached: dict[Key, int] = {}  # most jobs in flight since the last reading
        self._groups: dict[Key, tuple[int, ...]] = {}  # the clusters behind each

    def forget(self) -> None:
        """Somebody else had the duty for a while: nobody has watched."""
        self._reached.clear()

    def lowered(
        self, session: Session, loads: Mapping[int, Load], orders: Mapping[int, int], there: Mapping[int, int]
    ) -> dict[int, int]:
        """The orders that the ceilings leave. `there`: jobs in flight, by cluster, of closed clusters too."""
        left = dict(orders)
        sensors = readings.sensors(session, self._settings.load_sensor_period)
        stresses = readings.stresses(session, self._settings.stress_factor)
        self._groups = {each.text: each.clusters for each in sensors} | {each: (each,) for each in stresses}
        for cluster_id, known in stresses.items():
            most = self._stress_ceiling(session, cluster_id, known, loads, there.get(cluster_id, 0))
            if most is not None and cluster_id in left:
                left[cluster_id] = min(left[cluster_id], ceiling.room(most, there.get(cluster_id, 0)))
        for each in sensors:
            most = self._ceiling(session, each, loads)
            needs = {
                number: Need(there.get(number, 0), left[number], max(1, slots(loads[number])))
                for number in each.clusters
                if number in left
            }
            in_flight = sum(there.get(number, 0) for number in each.clusters)
            left |= ceiling.divide(ceiling.room(most, in_flight), needs)
        return left

    def dealt(self, there: Mapping[int, int], granted: Mapping[int, int]) -> None:
        """So many jobs are in flight, and so many more may be claimed."""
        for key, clusters in self._groups.items():
            now = sum(there.get(each, 0) + granted.get(each, 0) for each in clusters)
            self._reached[key] = max(now, self._reached.get(key, 0))
        self._reached = {key: most for key, most in self._reached.items() if key in self._groups}

    def _ceiling(self, session: Session, sensor: Sensor, loads: Mapping[int, Load]) -> float:
        known = sensor.known
        if known.load is None:
            return min(ceiling.FEW, known.ceiling or ceiling.FEW)
        if known.ceiling is not None and known.elapsed == 0:
            return known.ceiling
        off = ceiling.error(known.load, known.reference)
        lag = self._lag(self._settings.load_sensor_period, sensor.clusters, loads)
        reached = self._reached.pop(sensor.text, None)
        found = ceiling.step(known.ceiling, off, reached, known.elapsed or 0.0, lag)
        readings.note_ceiling(session, sensor.text, found)
        return found

    def _stress_ceiling(
        self, session: Session, cluster_id: int, known: Known, loads: Mapping[int, Load], now: int
    ) -> float | None:
        if known.load is None or (known.ceiling is not None and known.elapsed == 0):
            return known.ceiling
        off = ceiling.error(known.load, STRESS_REFERENCE * known.reference)
        elapsed, reached = known.elapsed or 0.0, self._reached.get(cluster_id)
        if known.ceiling is None:  # if it has to begin, then from what is there
            elapsed, reached = 0.0, max(now, reached or 0)
        found = ceiling.stress_step(known.ceiling, off, reached, elapsed, self._lag(0.0, (cluster_id,), loads))
        if found is not None or known.ceiling is not None:
            self._reached.pop(cluster_id, None)
            readings.note_stress_ceiling(session, cluster_id, found)
        return found

    def _lag(self, period: float, clusters: tuple[int, ...], loads: Mapping[int, Load]) -> float:
        """Seconds from an order to the reading that shows what it did."""
        delays = [loads[each].delay for each in clusters if each in loads]
        return self._settings.load_sensor_lag + period + max(delays, default=0.0)
