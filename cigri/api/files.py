"""Files on the clusters that their owners delete through the API."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cigri.api.errors import forbidden, not_found
from cigri.api.reaching import reach
from cigri.config import Settings
from cigri.core.tokens import LISTER
from cigri.db import clusters, mappings
from cigri.errors import Refused

TOO_LARGE = 413


def login_of(session: Session, user: str, cluster_id: int) -> str:
    """Who the user is on the cluster. Refuses root, and clusters that are not there."""
    if user == LISTER:
        raise forbidden(f"{LISTER} deletes no files on clusters: do it as their owner")
    cluster = clusters.by_id(session, cluster_id)
    if cluster is None or cluster.removed_at is not None:
        raise not_found(f"There is no cluster {cluster_id}: GET /clusters lists them")
    return mappings.login_of(session, user, cluster_id)


def delete(engine: Engine, settings: Settings, cluster_id: int, user: str, login: str, path: str) -> None:
    """Delete one file as the user. A directory is not found: clusters would delete it with all that is in it."""
    with reach(engine, settings, cluster_id, user, f"The file {path}") as client:
        try:
            client.read_file(login, path, 1)
        except Refused as error:
            if error.status != TOO_LARGE:  # a last line of that length is a file's
                raise
        client.delete_file(login, path)
