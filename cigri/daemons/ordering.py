"""How many jobs each cluster is to be sent now, by the controller that the configuration names."""

from __future__ import annotations

import time
from collections.abc import Mapping

from sqlalchemy.orm import Session

from cigri.config import Settings
from cigri.core import control, tap
from cigri.core.control import Limits, Load
from cigri.daemons.throttling import Throttle
from cigri.db import limits

MINUTE = 60.0


class Ordering:
    """The controllers of all clusters."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rule = tap.TapRule(
            settings.runner_default_initial_number_of_jobs,
            settings.runner_tap_increase_factor,
            settings.runner_tap_increase_max,
            settings.runner_tap_grace_period,
        )
        self._taps: dict[int, tap.Tap] = {}
        self._throttle = Throttle(settings)

    def forget(self) -> None:
        """Somebody else had the duty for a while."""
        self._taps.clear()
        self._throttle.forget()

    def orders(self, session: Session, loads: Mapping[int, Load], there: Mapping[int, int]) -> dict[int, int]:
        """For each cluster that may get jobs, how many. `there`: jobs in flight on all clusters."""
        allowed, lately = self._limits(session, loads)
        if self._settings.submission_control == "tap":
            return self._through_taps(session, loads, allowed, lately)
        wanted = {each: control.order(load, allowed[each], lately.get(each, 0)) for each, load in loads.items()}
        return self._throttle.lowered(session, loads, wanted, there)

    def within(
        self, session: Session, loads: Mapping[int, Load], there: Mapping[int, int], wanted: Mapping[int, int]
    ) -> dict[int, int]:
        """What limits and high loads leave of so many jobs, by cluster."""
        allowed, lately = self._limits(session, loads)
        left = {
            each: control.within(jobs, loads[each], allowed[each], lately.get(each, 0)) for each, jobs in wanted.items()
        }
        if self._settings.submission_control == "tap":
            return left
        return self._throttle.lowered(session, loads, left, there)

    def _limits(self, session: Session, loads: Mapping[int, Load]) -> tuple[dict[int, Limits], dict[int, int]]:
        """What administrators allow, and what was sent in the last minute where that is limited."""
        allowed = limits.limits(session, self._settings.runner_max_waiting)
        limited = {each: MINUTE for each in loads if allowed[each].max_per_minute is not None}
        return allowed, limits.sent(session, limited)

    def dealt(self, there: Mapping[int, int], granted: Mapping[int, int]) -> None:
        """So many jobs are in flight, and so many more may be claimed."""
        self._throttle.dealt(there, granted)

    def _through_taps(
        self, session: Session, loads: Mapping[int, Load], allowed: Mapping[int, Limits], lately: Mapping[int, int]
    ) -> dict[int, int]:
        now = time.monotonic()
        # Clusters that may get none, blacklisted ones among them, begin again from the smallest.
        self._taps = {each: self._taps.get(each, tap.Tap(self._rule.first)) for each in loads}
        known = {each: now - found.looked_at for each, found in self._taps.items() if found.given}
        since = limits.sent(session, known)
        found = {}
        for cluster_id, load in loads.items():
            mine = tap.used(self._taps[cluster_id], since.get(cluster_id, 0))
            if now - mine.looked_at >= self._settings.runner_min_cycle_duration:
                mine = tap.look(mine, self._rule, waiting=load.queued, now=now)
            self._taps[cluster_id] = mine
            found[cluster_id] = control.within(mine.left, load, allowed[cluster_id], lately.get(cluster_id, 0))
        return found
