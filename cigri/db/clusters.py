"""Clusters as the administrator declared them, and what is known of each from moment to moment."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ScalarSelect, delete, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from cigri.core.states import CampaignState, JobState, SubmissionState
from cigri.db.tables import (
    LIVING,
    Allowance,
    Campaign,
    CampaignCluster,
    Cluster,
    ClusterStatus,
    Job,
    Submission,
)


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
    live = select(Job.id).where(Job.cluster_id == Cluster.id, LIVING).exists()
    sending = (
        select(Submission.id)
        .where(Submission.cluster_id == Cluster.id, Submission.state == SubmissionState.SENDING)
        .exists()
    )
    query = select(Cluster.name, Cluster.id).where(Cluster.removed_at.is_(None), or_(Cluster.enabled, live, sending))
    return dict(session.execute(query).all())


def live_jobs(session: Session, cluster_id: int) -> int:
    """How many jobs of the grid are on their way to the cluster, or there."""
    query = select(func.count()).where(Job.cluster_id == cluster_id, LIVING)
    return session.execute(query).scalar_one()


def unsettled_submissions(session: Session, cluster_id: int) -> int:
    """How many submissions to the cluster have a fate that is not known yet."""
    query = select(func.count()).where(Submission.cluster_id == cluster_id, Submission.state == SubmissionState.SENDING)
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


def declare(session: Session, name: str, **fields: object) -> Cluster:
    """A new cluster; columns that are not given have the schema's defaults. The name must be free."""
    cluster = Cluster(name=name, **fields)
    session.add(cluster)
    session.flush()
    session.add(ClusterStatus(cluster_id=cluster.id))
    session.flush()
    return cluster


def locked(session: Session, name: str) -> Cluster | None:
    """The cluster of this name, kept from other changes and from new jobs until the transaction ends."""
    query = select(Cluster).where(Cluster.removed_at.is_(None), Cluster.name == name)
    return session.scalar(query.with_for_update(key_share=True))


def change(session: Session, cluster: Cluster, *, moved: bool = False, **fields: object) -> None:
    """Set columns. `moved`: behind the new URL ids of jobs mean other jobs, a new generation begins."""
    cluster.url_generation += moved
    for column, value in fields.items():
        setattr(cluster, column, value)
    session.flush()


def disable(session: Session, cluster: Cluster) -> None:
    """No new jobs from now on; what is there is followed to its end."""
    cluster.enabled = False
    session.execute(delete(Allowance).where(Allowance.cluster_id == cluster.id))
    session.flush()


def mark_removed(session: Session, cluster: Cluster) -> None:
    """The cluster is gone; its name is free, its history stays."""
    disable(session, cluster)
    cluster.removed_at = session.execute(select(func.now())).scalar_one()
    session.flush()


def hopeful_campaigns(session: Session, cluster_id: int) -> int:
    """How many unfinished campaigns may use this cluster and no other."""
    other = aliased(CampaignCluster)
    present_other = (
        select(other.cluster_id)
        .join(Cluster, Cluster.id == other.cluster_id)
        .where(
            other.campaign_id == CampaignCluster.campaign_id,
            other.cluster_id != cluster_id,
            Cluster.removed_at.is_(None),
        )
    )
    query = (
        select(func.count())
        .select_from(CampaignCluster)
        .join(Campaign, Campaign.id == CampaignCluster.campaign_id)
        .where(
            CampaignCluster.cluster_id == cluster_id,
            Campaign.state.in_((CampaignState.IN_TREATMENT, CampaignState.PAUSED)),
            ~present_other.exists(),
        )
    )
    return session.execute(query).scalar_one()


def wanted(session: Session, cluster_id: int) -> bool:
    """Whether some campaign in treatment may use the cluster."""
    query = (
        select(Campaign.id)
        .join(CampaignCluster, CampaignCluster.campaign_id == Campaign.id)
        .where(CampaignCluster.cluster_id == cluster_id, Campaign.state == CampaignState.IN_TREATMENT)
        .limit(1)
    )
    return session.scalar(query) is not None


def has_work(session: Session, cluster_id: int) -> bool:
    """Whether its runner has anything to look up, to follow or to send."""
    live = select(Job.id).where(Job.cluster_id == cluster_id, LIVING).exists()
    unsettled = select(Submission.id).where(
        Submission.cluster_id == cluster_id, Submission.state == SubmissionState.SENDING
    )
    allowed = select(Allowance.tasks).where(Allowance.cluster_id == cluster_id, Allowance.tasks > 0)
    return bool(session.scalar(select(or_(live, unsettled.exists(), allowed.exists()))))


def running_jobs(cluster_id: int) -> ScalarSelect[int]:
    """How many jobs of the grid run on the cluster: an SQL expression."""
    query = select(func.count()).where(Job.cluster_id == cluster_id, LIVING, Job.state == JobState.RUNNING)
    return query.scalar_subquery()


def stress_limit(session: Session, cluster_id: int) -> float | None:
    """The cluster's own limit of stress, if it has one."""
    return session.scalar(select(Cluster.stress_factor).where(Cluster.id == cluster_id))


def last_swept(session: Session, cluster_id: int) -> float:
    """Seconds since the cluster was swept last; infinite if it never was."""
    age = func.extract("epoch", func.now() - ClusterStatus.swept_at)
    seconds = session.scalar(select(age).where(ClusterStatus.cluster_id == cluster_id))
    return float("inf") if seconds is None else float(seconds)
