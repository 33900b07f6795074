"""Clusters as a daemon works with them: the client, its lock, the duty's guard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from sqlalchemy.orm import Session

from cigri.clusters.base import Cluster, RemoteJob, RemoteState
from cigri.clusters.connect import ClusterSettings, connect, described
from cigri.config import Settings
from cigri.core.outcome import Sign
from cigri.core.settling import Sighting
from cigri.core.shell import job_key
from cigri.daemons.base import Daemon
from cigri.db import tables
from cigri.db.locks import LockSession


@dataclass(frozen=True, slots=True)
class Site:
    """One cluster, and the means to work with it under a daemon's duty."""

    id: int
    name: str
    url_generation: int
    enabled: bool
    chunk: int
    properties: str
    cluster: Cluster
    settings: Settings
    transaction: Callable[[], AbstractContextManager[Session]]


class Sites:
    """The sites of a daemon: a client is made anew when what is declared of its cluster has changed."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        # One connection for the locks of all clusters: a daemon asks one at a time.
        self._locks = LockSession(daemon.engine)
        self._known: dict[int, tuple[ClusterSettings, Cluster]] = {}

    def site(self, record: tables.Cluster) -> Site:
        """The site of a declared cluster. Raises ConfigError when it cannot be reached as it is declared."""
        settings = described(record, self._daemon.settings)
        known = self._known.get(record.id)
        if known is None or known[0] != settings:
            known = self._connect(record.id, settings)
        return Site(
            record.id,
            record.name,
            record.url_generation,
            record.enabled and record.removed_at is None,
            min(record.api_chunk_size, self._daemon.settings.runner_chunk),
            record.properties,
            known[1],
            self._daemon.settings,
            self._daemon.transaction,
        )

    def close(self) -> None:
        """Give the connection of the clusters' locks back."""
        self._locks.close()

    def _connect(self, cluster_id: int, settings: ClusterSettings) -> tuple[ClusterSettings, Cluster]:
        timeout = self._daemon.settings.rest_queries_timeout
        lock = partial(self._locks.hold, cluster_id)
        client = connect(settings, timeout=timeout, lock=lock, guard=self._daemon.duty.guard)
        self._known[cluster_id] = (settings, client)
        return self._known[cluster_id]


def is_ours(remote: RemoteJob, name: str, key: int) -> bool:
    """Whether a job that a cluster shows is the one that we sent: a bare id identifies nothing."""
    return remote.name == name and job_key(remote.command) == key


def sighting(remote: RemoteJob) -> Sighting:
    """A job of a submission, as the pairing wants it."""
    return Sighting(
        remote.id,
        job_key(remote.command),
        remote.resubmit_job_id,
        remote.array_index,
        held=remote.state is RemoteState.HOLD,
        ended=remote.state.final,
        succeeded=remote.exit_code == 0 and remote.state.final,
    )


def signs(remote: RemoteJob) -> tuple[Sign, ...]:
    """The cluster's log about a job."""
    return tuple(Sign(event.kind, event.description, event.to_check) for event in remote.events)
