"""A cluster that fails: told once, blacklisted when it goes on, probed by the updater until it answers again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

from sqlalchemy.orm import Session

from cigri.db import events
from cigri.errors import ClusterError, ConnectionCut, NoAnswer, Unreachable

log = logging.getLogger(__name__)

PATIENCE = 2  # failed rounds in a row; one alone is not worth the user's attention


class Trouble:
    """Counts the failed rounds of one cluster."""

    def __init__(self, cluster_id: int, name: str) -> None:
        self._cluster_id = cluster_id
        self._name = name
        self._failures = 0

    def happened(
        self,
        error: ClusterError,
        transaction: Callable[[], AbstractContextManager[Session]],
        autofix_delay: float,
    ) -> None:
        """A round failed: blacklist the cluster if it was not the first in a row."""
        self._failures += 1
        log.log(logging.WARNING if self._failures <= PATIENCE else logging.DEBUG, "%s: %s", self._name, error)
        code = code_of(error)
        if self._failures < PATIENCE:
            return
        with transaction() as session:
            if not events.is_blacklisted(session, self._cluster_id):
                delay = timedelta(seconds=autofix_delay)
                events.record(session, events.News(code, str(error), cluster_id=self._cluster_id, probe_delay=delay))
                log.warning("%s: blacklisted (%s) until it answers again", self._name, code)

    def over(self) -> None:
        """A round went well."""
        self._failures = 0


def code_of(error: ClusterError) -> str:
    """The event for a cluster that failed so."""
    if isinstance(error, Unreachable):
        return "CONNECTION_REFUSED"
    if isinstance(error, ConnectionCut):
        return "CONNECTION_RESET"
    if isinstance(error, NoAnswer):
        return "TIMEOUT"
    # What was refused to one user alone does not come here.
    return "CLUSTER_API_SERVER_ERROR"
