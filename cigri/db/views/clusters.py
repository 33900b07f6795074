"""Clusters and how they were used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from cigri.db.events import blacklisted
from cigri.db.tables import Cluster, ClusterStatus, GridUsage

MOST_RECORDS = 20_000


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster, whether it gets no jobs because of an event, and the stress its updater saw last."""

    cluster: Cluster
    blacklisted: bool
    stress: float | None


def _clusters() -> Select[*tuple[Any, ...]]:
    return (
        select(Cluster, blacklisted(Cluster.id.expression), ClusterStatus.stress)
        .outerjoin(ClusterStatus, ClusterStatus.cluster_id == Cluster.id)
        .where(Cluster.removed_at.is_(None))
    )


def clusters(session: Session) -> list[ClusterView]:
    """The clusters of the grid, those that are disabled too."""
    return [ClusterView(*row) for row in session.execute(_clusters().order_by(Cluster.id))]


def cluster(session: Session, cluster_id: int) -> ClusterView | None:
    """One cluster."""
    row = session.execute(_clusters().where(Cluster.id == cluster_id)).one_or_none()
    return None if row is None else ClusterView(*row)


def usage(
    session: Session, first: datetime | None = None, last: datetime | None = None, *, limit: int = MOST_RECORDS
) -> tuple[Sequence[Row[GridUsage, str]], bool]:
    """What was recorded after `first` and up to `last`, oldest first; with neither: the newest record.

    Of more than `limit` rows the first are given, all of each date; and whether there are more.
    """
    query = select(GridUsage, Cluster.name).join(Cluster, Cluster.id == GridUsage.cluster_id)
    if first is None and last is None:
        query = query.where(GridUsage.date == select(func.max(GridUsage.date)).scalar_subquery())
    if first is not None:
        query = query.where(GridUsage.date > first)
    if last is not None:
        query = query.where(GridUsage.date <= last)
    rows = session.execute(query.order_by(GridUsage.date, Cluster.id).limit(limit + 1)).all()
    if len(rows) <= limit:
        return rows, False
    return [row for row in rows if row[0].date < rows[-1][0].date], True
