"""What is written down regularly, and what is forgotten after a while."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from cigri.core.states import JobState
from cigri.db.tables import LIVING, Cluster, ClusterStatus, Event, GridUsage, IdempotencyKey, Job

KEYS_KEPT = timedelta(days=7)
PASSED_KEPT = timedelta(days=30)


def record_usage(session: Session) -> None:
    """One line of grid usage per cluster whose resources were counted, all with the same date."""
    ours = (
        select(func.coalesce(func.sum(func.coalesce(Job.resources_used, 1)), 0))
        .where(Job.cluster_id == Cluster.id, LIVING, Job.state == JobState.RUNNING)
        .scalar_subquery()
    )
    status = ClusterStatus
    used = status.resources_total - status.resources_unavailable - status.resources_free
    counted = (
        select(
            func.now(), Cluster.id, status.resources_total, used, func.least(ours, used), status.resources_unavailable
        )
        .join(status, status.cluster_id == Cluster.id)
        .where(Cluster.enabled, Cluster.removed_at.is_(None), status.resources_at.is_not(None))
    )
    columns = ["date", "cluster_id", "max_resources", "used_resources", "used_by_cigri", "unavailable_resources"]
    session.execute(insert(GridUsage).from_select(columns, counted))


def forget_old(session: Session) -> None:
    """Drop idempotency keys that no client will send again, and the many small events that nobody asks for."""
    passed = ("RESUBMIT", "RESUBMIT_END", "OAR_AUTO_RESUBMIT", "UNKNOWN_STATE")
    session.execute(delete(Event).where(Event.code.in_(passed), Event.date_closed < func.now() - PASSED_KEPT))
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < func.now() - KEYS_KEPT))
