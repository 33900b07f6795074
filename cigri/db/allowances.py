"""What the metascheduler reads and writes: clusters with room, campaigns with tasks left, allowances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Integer, ScalarSelect, Subquery, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cigri.core.control import Load
from cigri.core.scheduling import Backlog, Grant
from cigri.core.states import LIVE, CampaignState, JobState, TaskState
from cigri.db.arrays import rows
from cigri.db.events import blacklisted
from cigri.db.stages import ready
from cigri.db.tables import (
    Allowance,
    Campaign,
    CampaignCluster,
    CampaignCount,
    Cluster,
    ClusterStatus,
    Job,
    Task,
    UserPriority,
)

_NO_SYNC = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Situation:
    """A cluster that may get jobs, and the campaigns that have tasks left for it."""

    cluster_id: int
    load: Load
    backlogs: tuple[Backlog, ...]


def lock(session: Session) -> None:
    """Keep the runners from claiming until the transaction ends, so that what is counted stays true."""
    query = select(Allowance.tasks).order_by(Allowance.cluster_id, Allowance.campaign_id)
    session.execute(query.with_for_update()).all()


def situations(session: Session, stress_limit: float) -> list[Situation]:
    """The clusters that may get jobs: enabled, not blacklisted, below their stress limit."""
    loads = _loads(session, stress_limit)
    backlogs = _backlogs(session, list(loads))
    return [Situation(cluster_id, load, tuple(backlogs[cluster_id])) for cluster_id, load in loads.items()]


def _loads(session: Session, stress_limit: float) -> dict[int, Load]:
    jobs = (
        select(
            Job.cluster_id,
            func.count().label("live"),
            func.count().filter(Job.state == JobState.RUNNING).label("running"),
            func.avg(Job.resources_used).filter(Job.state == JobState.RUNNING).label("size"),
        )
        .where(Job.state.in_(LIVE))
        .group_by(Job.cluster_id)
        .subquery()
    )
    status = ClusterStatus
    query = (
        select(Cluster.id, status, jobs.c.live, jobs.c.running, jobs.c.size)
        .join(status, status.cluster_id == Cluster.id)
        .outerjoin(jobs, jobs.c.cluster_id == Cluster.id)
        .where(Cluster.enabled, Cluster.removed_at.is_(None), ~blacklisted(Cluster.id))
        .where(func.coalesce(status.stress, 0) < func.coalesce(Cluster.stress_factor, stress_limit))
        .order_by(Cluster.id)
    )
    loads = {}
    for cluster_id, known, live, running, size in session.execute(query):
        free = (
            None
            if known.resources_at is None
            else int(min(known.resources_free, known.resources_besteffort) / max(1.0, float(size or 1)))
        )
        loads[cluster_id] = Load(live or 0, running or 0, free, known.jobs_running, known.completion_rate)
    return loads


def _backlogs(session: Session, cluster_ids: Sequence[int]) -> Mapping[int, list[Backlog]]:
    """For each cluster the campaigns in treatment that have pending tasks, or jobs, there."""
    jobs = (
        select(Job.cluster_id, Job.campaign_id, func.count().label("live"))
        .where(Job.state.in_(LIVE))
        .group_by(Job.cluster_id, Job.campaign_id)
        .subquery()
    )
    pending = _pending()
    pair = CampaignCluster
    query = (
        select(
            pair.cluster_id,
            Campaign.id,
            Campaign.grid_user,
            pending.c.pending - _delayed(),
            func.coalesce(jobs.c.live, 0, type_=Integer()),
            pair.max_jobs,
            func.coalesce(func.extract("epoch", Allowance.served_at), 0),
            pair.urgent,
            func.coalesce(UserPriority.priority, 0),
        )
        .join(Campaign, Campaign.id == pair.campaign_id)
        .join(pending, pending.c.campaign_id == Campaign.id)
        .outerjoin(jobs, (jobs.c.cluster_id == pair.cluster_id) & (jobs.c.campaign_id == pair.campaign_id))
        .outerjoin(Allowance, (Allowance.cluster_id == pair.cluster_id) & (Allowance.campaign_id == pair.campaign_id))
        .outerjoin(
            UserPriority,
            (UserPriority.cluster_id == pair.cluster_id) & (UserPriority.grid_user == Campaign.grid_user),
        )
        .where(
            pair.cluster_id.in_(cluster_ids),
            Campaign.state == CampaignState.IN_TREATMENT,
            ~blacklisted(pair.cluster_id, pair.campaign_id),
            ready(),
        )
        .order_by(pair.cluster_id, Campaign.id)
    )
    found: dict[int, list[Backlog]] = defaultdict(list)
    for cluster_id, campaign_id, user, left, live, max_jobs, served, urgent, priority in session.execute(query):
        backlog = Backlog(campaign_id, user, left, live, max_jobs, float(served), urgent, 2.0**priority)
        found[cluster_id].append(backlog)
    return found


def _delayed() -> ScalarSelect[int]:
    """The pending tasks of a campaign (in a query that has Campaign) that are to wait for a while."""
    query = select(func.count()).where(
        Task.campaign_id == Campaign.id, Task.state == TaskState.PENDING, Task.not_before > func.now()
    )
    return query.correlate(Campaign).scalar_subquery()


def _pending() -> Subquery:
    """The pending tasks of the campaigns in treatment."""
    return (
        select(CampaignCount.campaign_id, func.sum(CampaignCount.pending).cast(Integer()).label("pending"))
        .join(Campaign, Campaign.id == CampaignCount.campaign_id)
        .where(Campaign.state == CampaignState.IN_TREATMENT)
        .group_by(CampaignCount.campaign_id)
        .subquery()
    )


def write(session: Session, grants: Mapping[int, Sequence[Grant]]) -> bool:
    """Replace all allowances by these (cluster id -> grants in order); whether somebody may take something new."""
    flat = [
        (cluster_id, grant.campaign_id, grant.tasks, rank)
        for cluster_id, dealt in grants.items()
        for rank, grant in enumerate(dealt)
    ]
    before = {
        (row.cluster_id, row.campaign_id): row.tasks
        for row in session.execute(select(Allowance.cluster_id, Allowance.campaign_id, Allowance.tasks))
    }
    named = {(cluster_id, campaign_id) for cluster_id, campaign_id, _, _ in flat}
    if any(tasks and pair not in named for pair, tasks in before.items()):
        session.execute(update(Allowance).where(Allowance.tasks > 0).values(tasks=0).execution_options(**_NO_SYNC))
    _upsert(session, flat)
    return any(tasks > before.get((cluster, campaign), 0) for cluster, campaign, tasks, _ in flat)


def _upsert(session: Session, flat: Sequence[tuple[int, int, int, int]]) -> None:
    if not flat:
        return
    columns = list(zip(*flat, strict=True))
    new = rows(
        "granted",
        cluster_id=(Integer(), columns[0]),
        campaign_id=(Integer(), columns[1]),
        tasks=(Integer(), columns[2]),
        rank=(Integer(), columns[3]),
    )
    names = ["cluster_id", "campaign_id", "tasks", "rank"]
    statement = insert(Allowance).from_select(names, select(*(new.c[name] for name in names)))
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["cluster_id", "campaign_id"],
            set_={"tasks": statement.excluded.tasks, "rank": statement.excluded.rank},
        )
    )


def forget_ended(session: Session) -> None:
    """Drop the allowances of campaigns that have ended."""
    ended = select(Campaign.id).where(
        Campaign.state.in_((CampaignState.CANCELLED, CampaignState.TERMINATED)), Campaign.id == Allowance.campaign_id
    )
    session.execute(delete(Allowance).where(ended.exists()).execution_options(**_NO_SYNC))


def granted(session: Session, cluster_id: int) -> list[tuple[int, int]]:
    """What a runner may claim: (campaign id, tasks) in order."""
    query = (
        select(Allowance.campaign_id, Allowance.tasks)
        .where(Allowance.cluster_id == cluster_id, Allowance.tasks > 0)
        .order_by(Allowance.rank)
    )
    return list(session.execute(query))
