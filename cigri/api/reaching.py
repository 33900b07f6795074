"""Clusters as the API asks them: for one user, under the cluster's lock, with no transaction open meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from sqlalchemy import Engine

from cigri.api.errors import ApiError, not_found
from cigri.clusters.base import Cluster as Client
from cigri.clusters.connect import connect, described
from cigri.config import Settings
from cigri.db.engine import transaction
from cigri.db.locks import ClusterBusy, ClusterLock
from cigri.db.tables import Cluster
from cigri.db.wallet import Wallet
from cigri.errors import ClusterError, ConfigError, NotFound, Refused, TokenRefused

PATIENCE = 10.0  # seconds that a request waits for a cluster: what submits and follows goes first


@contextmanager
def reach(engine: Engine, settings: Settings, cluster_id: int, user: str, what: str) -> Iterator[Client]:
    """The cluster, asked as this user of the grid, with that user's token where tokens count.

    What goes wrong in the block becomes an answer that begins with `what`: 404 it is not there, 403 it may not be
    had, 503 not now.
    """
    with transaction(engine) as session:
        cluster = session.get_one(Cluster, cluster_id)
    wallet = Wallet(engine, cluster.id, cluster.name, settings.token_key_file)
    with closing(ClusterLock(engine, cluster.id, wait=PATIENCE)) as lock:
        try:
            place, timeout = described(cluster, settings), settings.rest_queries_timeout
            yield connect(place, timeout=timeout, lock=lock, ask=wallet.asking(user))
        except (ClusterError, ClusterBusy, ConfigError) as error:
            raise _answer(what, error) from error


def _answer(what: str, error: Exception) -> ApiError:
    if isinstance(error, NotFound):
        return not_found(f"{what} is not there: {error}")
    if isinstance(error, TokenRefused):
        return ApiError(403, f"{what}: the cluster does not accept who asks: {error}")
    if isinstance(error, Refused):
        return ApiError(403, f"{what}: the cluster refuses: {error}")
    if isinstance(error, ConfigError):
        return ApiError(400, f"{what} cannot be had: {error}", title="Error")
    return ApiError(503, f"{what} cannot be had now: {error}")
