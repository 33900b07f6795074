"""Clusters as the administrator declared them, and what is known of each from moment to moment."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from cigri.core.states import LIVE, SubmissionState
from cigri.db.tables import Cluster, ClusterStatus, Job, Submission


def present(session: Session) -> Sequence[Cluster]:
    """All clusters but the removed ones, by name."""
    return session.scalars(select(Cluster).where(Cluster.removed_at.is_(None)).order_by(Cluster.name)).all()


def by_name(session: Session, name: str) -> Cluster | None:
    """The cluster of this name, if it is there."""
    return session.scalar(select(Cluster).where(Cluster.removed_at.is_(None), Cluster.name == name))


def by_id(session: Session, cluster_id: int) -> Cluster | None:
    """The cluster with this id, removed or not."""
    return session.get(Cluster, cluster_id)


def needing_runner(session: Session) -> dict[str, int]:
    """Names and ids of the clusters that get jobs, or still have some of ours."""
    live = select(Job.id).where(Job.cluster_id == Cluster.id, Job.state.in_(LIVE)).exists()
    sending = (
        select(Submission.id)
        .where(Submission.cluster_id == Cluster.id, Submission.state == SubmissionState.SENDING)
        .exists()
    )
    query = select(Cluster.name, Cluster.id).where(
        Cluster.removed_at.is_(None), or_(Cluster.enabled, live, sending)
    )
    return dict(session.execute(query).tuples().all())


def live_jobs(session: Session, cluster_id: int) -> int:
    """How many jobs of the grid are on their way to the cluster, or there."""
    query = select(func.count()).where(Job.cluster_id == cluster_id, Job.state.in_(LIVE))
    return session.execute(query).scalar_one()


def unsettled_submissions(session: Session, cluster_id: int) -> int:
    """How many submissions to the cluster have a fate that is not known yet."""
    query = select(func.count()).where(
        Submission.cluster_id == cluster_id, Submission.state == SubmissionState.SENDING
    )
    return session.execute(query).scalar_one()


def note(session: Session, cluster_id: int, **fields: object) -> None:
    """Set columns of the cluster's status; values may be SQL expressions."""
    session.execute(
        update(ClusterStatus)
        .where(ClusterStatus.cluster_id == cluster_id)
        .values(**fields)
        .execution_options(synchronize_session=False)
    )


def status(session: Session, cluster_id: int) -> ClusterStatus | None:
    """What is known of the cluster now."""
    return session.get(ClusterStatus, cluster_id)
