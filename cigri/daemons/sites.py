"""Clusters as a daemon works with them: the client, its lock, the duty's guard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy.orm import Session

from cigri.clusters.base import Cluster, RemoteJob, RemoteState
from cigri.clusters.connect import ClusterSettings, connect, described
from cigri.clusters.credentials import Ask
from cigri.config import Settings
from cigri.core import adopted
from cigri.core.outcome import Sign
from cigri.core.settling import Sighting
from cigri.core.shell import job_key
from cigri.daemons.base import Daemon
from cigri.db import mappings, tables
from cigri.db.engine import transaction
from cigri.db.locks import LockSession
from cigri.db.views import campaigns
from cigri.db.wallet import Wallet


@dataclass(frozen=True, slots=True)
class Site:
    """One cluster, and the means to work with it under a daemon's duty."""

    id: int
    name: str
    url_generation: int
    enabled: bool
    properties: str
    cluster: Cluster
    settings: Settings
    transaction: Callable[[], AbstractContextManager[Session]]
    wallet: Wallet | None = None  # where each user has a token of their own
    act: Callable[[str], Cluster] | None = None
    owner: Callable[[int], str] | None = None

    def acting(self, campaign_id: int) -> Site:
        """The site as one works with it for the owner of a campaign, with that user's token where tokens count."""
        return self if self.owner is None else self.acting_for(self.owner(campaign_id))

    def acting_for(self, grid_login: str) -> Site:
        """The same for a user of the grid."""
        return self if self.act is None else replace(self, cluster=self.act(grid_login))


class Sites:
    """The sites of a daemon: a client is made anew when what is declared of its cluster has changed."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        # One connection for the locks of all clusters: a daemon asks one at a time.
        self._locks = LockSession(daemon.engine)
        self._known: dict[int, tuple[ClusterSettings, Cluster]] = {}
        self._acting: dict[tuple[int, str], Cluster] = {}  # by cluster and user: each learns how long its lists are
        self._owners: dict[int, str] = {}  # of campaigns: they never change

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
            record.properties,
            known[1],
            self._daemon.settings,
            self._daemon.transaction,
            *self._own_tokens(record, settings),
        )

    def close(self) -> None:
        """Give the connection of the clusters' locks back."""
        self._locks.close()

    def _own_tokens(
        self, record: tables.Cluster, settings: ClusterSettings
    ) -> tuple[Wallet, Callable[[str], Cluster], Callable[[int], str]] | tuple[()]:
        if not mappings.has_own_tokens(record):
            return ()
        wallet = Wallet(self._daemon.engine, record.id, record.name, settings.token_key_file)

        def act(grid_login: str) -> Cluster:
            key = record.id, grid_login
            if key not in self._acting:
                self._acting[key] = self._client(record.id, settings, wallet.asking(grid_login))
            return self._acting[key]

        return wallet, act, self._owner

    def _owner(self, campaign_id: int) -> str:
        if campaign_id not in self._owners:
            with transaction(self._daemon.engine) as session:
                self._owners[campaign_id] = campaigns.owner(session, campaign_id) or ""
        return self._owners[campaign_id]

    def _connect(self, cluster_id: int, settings: ClusterSettings) -> tuple[ClusterSettings, Cluster]:
        wallet = Wallet(self._daemon.engine, cluster_id, settings.name, settings.token_key_file)
        self._acting = {key: client for key, client in self._acting.items() if key[0] != cluster_id}
        self._known[cluster_id] = (settings, self._client(cluster_id, settings, wallet.asking("")))
        return self._known[cluster_id]

    def _client(self, cluster_id: int, settings: ClusterSettings, ask: Ask) -> Cluster:
        timeout = self._daemon.settings.rest_queries_timeout
        lock = partial(self._locks.hold, cluster_id)
        return connect(settings, timeout=timeout, lock=lock, guard=self._daemon.duty.guard, ask=ask)


def is_ours(remote: RemoteJob, name: str, key: int) -> bool:
    """Whether a job that a cluster shows is the one that we sent: a bare id identifies nothing."""
    if (campaign_id := adopted.campaign_of(name)) is not None:
        return adopted.has_name(remote.name, name) and adopted.name(campaign_id, key, remote.command) == name
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
