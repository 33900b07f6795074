"""What the metascheduler reads and writes: clusters with room, campaigns with tasks left, allowances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, Subquery, any_, case, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from cigri.core import ledger
from cigri.core.control import LEAST_QUEUE, LONGEST_DELAY, STALE, Load, delay, most_in_flight
from cigri.core.finish import Speed
from cigri.core.scheduling import Backlog, Grant, Others
from cigri.core.states import CampaignState, JobKind, JobState, TaskState
from cigri.db.arrays import among, rows
from cigri.db.events import blacklisted
from cigri.db.stages import ready
from cigri.db.tables import (
    LIVING,
    Allowance,
    Campaign,
    CampaignCluster,
    CampaignCount,
    CampaignEnd,
    CampaignMinute,
    Cluster,
    ClusterStatus,
    Job,
    Task,
    UserPriority,
)

_NO_SYNC = {"synchronize_session": False}
UNSURE = timedelta(seconds=60)
LONG = timedelta(seconds=LONGEST_DELAY)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Flying:
    """The jobs in flight of a campaign on a cluster. `reserved`: core-seconds that they will be charged."""

    campaign_id: int
    user: str
    live: int
    running: int
    waiting: int  # in the cluster's queue, or just sent
    queued: int  # in the cluster's queue, as it was seen there
    spent: float  # core-seconds, by those that run
    resources: int  # of those that run ...
    counted: int  # ... as far as they are known
    ahead: int  # in test mode, prologues and epilogues
    reserved: float
    stages: int  # of those that wait, prologues and epilogues
    long: int  # of those that wait, since so long that they would have started if they could
    size: float  # resources of a task's job, as those that run show it, or as the campaign asks
    choosy: bool  # what is free may not be good for them


InFlight = Mapping[int, Sequence[Flying]]  # by cluster


def lock(session: Session) -> None:
    """Keep the runners from claiming until the transaction ends, so that what is counted stays true."""
    query = select(Allowance.tasks).order_by(Allowance.cluster_id, Allowance.campaign_id)
    session.execute(query.with_for_update()).all()


def flying(session: Session) -> dict[int, list[Flying]]:
    """What is in flight, by cluster."""
    running = Job.state == JobState.RUNNING
    jobs = (
        select(
            Job.cluster_id,
            Job.campaign_id,
            func.count().label("live"),
            func.count().filter(running).label("running"),
            func.count().filter(_waiting()).label("waiting"),
            func.count().filter(Job.state == JobState.REMOTE_WAITING).label("queued"),
            func.coalesce(func.sum(_ran()).filter(running), 0.0, type_=Float()).label("spent"),
            func.coalesce(func.sum(Job.resources_used).filter(running), 0).label("resources"),
            func.count(Job.resources_used).filter(running).label("counted"),
            func.count().filter(Job.kind != JobKind.TASK).label("ahead"),
            func.count().filter(_waiting(), Job.kind != JobKind.TASK).label("stages"),
            func.count().filter(_waiting(), Job.created_at < func.now() - LONG).label("long"),
        )
        .where(LIVING)
        .group_by(Job.cluster_id, Job.campaign_id)
    )
    there = session.execute(jobs).all()
    known = _places(session, {row.campaign_id for row in there})
    found: dict[int, list[Flying]] = defaultdict(list)
    for row in there:
        place = known.get((row.cluster_id, row.campaign_id), _UNKNOWN)
        one = ledger.guess(place.ended, place.used, place.longest)
        each = Flying(
            row.campaign_id, place.grid_user, row.live, row.running, row.waiting, row.queued, row.spent, row.resources,
            row.counted, row.live if place.urgent else row.ahead, max(row.live * one, row.spent), row.stages, row.long,
            row.resources / row.counted if row.counted else place.cores, place.choosy,
        )  # fmt: skip
        found[row.cluster_id].append(each)
    return found


@dataclass(frozen=True, slots=True)
class _Place:
    """What is known of a campaign on a cluster."""

    grid_user: str = ""
    ended: int = 0
    used: float = 0.0
    longest: float = 0.0
    urgent: bool = False
    cores: int = 1
    choosy: bool = False


_UNKNOWN = _Place()  # an adopted job may be where its campaign does not run now


def _places(session: Session, campaign_ids: Collection[int]) -> dict[tuple[int, int], _Place]:
    """What is known of these campaigns, by cluster and campaign."""
    pair = CampaignCluster
    query = (
        select(
            pair.cluster_id,
            pair.campaign_id,
            Campaign.grid_user,
            pair.ended,
            pair.used,
            pair.longest,
            pair.urgent,
            pair.cores,
            pair.choosy,
        )
        .join(Campaign, Campaign.id == pair.campaign_id)
        .where(pair.campaign_id == any_(literal(list(campaign_ids), ARRAY(Integer()))))
    )
    if not campaign_ids:
        return {}
    return {(row[0], row[1]): _Place(*row[2:]) for row in session.execute(query)}


def _waiting() -> ColumnElement[bool]:
    """Whether a job is in its cluster's queue: as the cluster said, or because it is being sent there right now.

    What was sent and not answered for long is looked up; until then nobody knows, and it does not count.
    """
    fresh = Job.created_at > func.now() - UNSURE
    return Job.state.in_((JobState.SUBMITTED, JobState.REMOTE_WAITING)) | (
        Job.state.in_((JobState.TO_LAUNCH, JobState.LAUNCHING)) & fresh
    )


def _ran() -> ColumnElement[float]:
    """Core-seconds of a running job so far."""
    seconds = func.extract("epoch", func.now() - Job.start_time).cast(Float())
    return func.greatest(0.0, seconds) * func.coalesce(Job.resources_used, 1)


def loads(session: Session, stress_limit: float, flying: InFlight) -> dict[int, Load]:
    """The clusters that may get jobs: enabled, not blacklisted, below their stress limit.

    Where resources or stress were read too long ago, nobody knows what is free for us.
    """
    status = ClusterStatus
    read_at = case(
        (status.stress.is_(None), status.resources_at), else_=func.least(status.resources_at, status.stress_at)
    )
    query = (
        select(Cluster.id, status, func.extract("epoch", func.now() - read_at).cast(Float()), Cluster.properties != "")
        .join(status, status.cluster_id == Cluster.id)
        .where(Cluster.enabled, Cluster.removed_at.is_(None), ~blacklisted(Cluster.id))
        .where(func.coalesce(status.stress, 0) < func.coalesce(Cluster.stress_factor, stress_limit))
        .order_by(Cluster.id)
    )
    found = {}
    for cluster_id, known, age, choosy in session.execute(query):
        there = flying.get(cluster_id, ())
        size = _size(there)
        free = None
        if age is not None and age < STALE:
            free = int(min(known.resources_free, known.resources_besteffort) * known.unit_size / size)
        live, running = sum(each.live for each in there), sum(each.running for each in there)
        waiting, queued = sum(each.waiting for each in there), sum(each.queued for each in there)
        takes = delay(known.follow_period, known.submission_time, known.start_delay)
        found[cluster_id] = Load(
            live, running, free, known.jobs_running, known.completion_rate, waiting, takes, queued,
            round(sum(_extra(each, size, free) for each in there)), sum(_aside(each, size, free) for each in there),
            choosy,
        )  # fmt: skip
    return found


def _aside(each: Flying, usual: float, free: int | None) -> int:
    """How many of those that wait do not wait for what is free."""
    if each.choosy or _too_large(_places_of(each.size, usual), free):
        return each.waiting - each.stages
    return each.long


def _extra(each: Flying, usual: float, free: int | None) -> float:
    """How many places more than one each those need that wait for what is free."""
    fresh = each.waiting - each.stages - _aside(each, usual, free)
    return max(0, fresh) * (_places_of(each.size, usual) - 1)


def _too_large(places: float, free: int | None) -> bool:
    """Whether a job that takes so many places is larger than all that is free."""
    return places > max(1, free or 0)


def _size(there: Sequence[Flying]) -> float:
    """How many resources a job of ours takes there on average, as far as it is known."""
    counted = sum(each.counted for each in there)
    return max(1.0, sum(each.resources for each in there) / counted) if counted else 1.0


def _places_of(size: float, usual: float) -> float:
    """How many jobs of the usual size one of this size counts as. Never less than one: limits are of jobs."""
    return max(1.0, size / usual)


def in_flight(flying: InFlight) -> dict[int, int]:
    """How many jobs run or wait on each cluster."""
    return {place: sum(each.running + each.waiting for each in there) for place, there in flying.items()}


def backlogs(session: Session, loads: Mapping[int, Load], flying: InFlight) -> Mapping[int, list[Backlog]]:
    """For each of these clusters the campaigns in treatment that have pending tasks there."""
    pending = _pending()
    pair = CampaignCluster
    query = (
        select(
            pair.cluster_id,
            Campaign.id,
            Campaign.grid_user,
            pending.c.pending,
            pair.max_jobs,
            pair.urgent,
            func.coalesce(UserPriority.priority, 0).label("priority"),
            pair.share,
            pair.ended,
            pair.used,
            pair.longest,
            pair.cores,
            pair.choosy,
        )
        .join(Campaign, Campaign.id == pair.campaign_id)
        .join(pending, pending.c.campaign_id == Campaign.id)
        .outerjoin(
            UserPriority,
            (UserPriority.cluster_id == pair.cluster_id) & (UserPriority.grid_user == Campaign.grid_user),
        )
        .where(
            pair.cluster_id.in_(loads),
            pending.c.pending > 0,
            Campaign.state == CampaignState.IN_TREATMENT,
            ~blacklisted(pair.cluster_id, pair.campaign_id),
            ready(),
        )
        .order_by(pair.cluster_id, Campaign.id)
    )
    if not loads:
        return {}
    there = {(place, each.campaign_id): each for place in loads for each in flying.get(place, ())}
    pairs = session.execute(query).all()
    elsewhere = _elsewhere(session)
    lately = _lately(session, {row.id for row in pairs if row.choosy})
    usual = {place: _size(flying.get(place, ())) for place in loads}
    found: dict[int, list[Backlog]] = defaultdict(list)
    for row in pairs:
        key, load = (row.cluster_id, row.id), loads[row.cluster_id]
        ends = lately.get(key, 0.0) * load.delay
        left = row.pending - elsewhere.get(key, 0)
        found[row.cluster_id].append(_backlog(row, there.get(key), left, usual[row.cluster_id], load.free, ends))
    return found


def _backlog(row: Any, mine: Flying | None, left: int, usual: float, free: int | None, ends: float) -> Backlog:
    """A campaign on a cluster. usual: the size of the jobs there; ends: how many of its own end in the loop's delay."""
    places = _places_of(mine.size if mine else row.cores, usual)
    too_large, running = _too_large(places, free), mine.running if mine else 0
    bounds = [row.max_jobs] if row.max_jobs is not None else []
    bounds += [most_in_flight(running, ends)] if row.choosy else []
    bounds += [running + LEAST_QUEUE] if too_large else []
    return Backlog(
        row.id,
        row.grid_user,
        max(0, left),
        mine.live if mine else 0,
        min(bounds, default=None),
        row.urgent,
        2.0**row.priority,
        row.share,
        ledger.guess(row.ended, row.used, row.longest),
        row.longest,
        mine.spent if mine else 0.0,
        1.0 if too_large else places,  # it waits in the queue, and takes nothing of what is free
    )


def _lately(session: Session, campaign_ids: Collection[int]) -> dict[tuple[int, int], float]:
    """How many jobs of these campaigns have succeeded in a second, by cluster and campaign, in the last two minutes."""
    minute = CampaignMinute
    query = (
        select(minute.writer, minute.campaign_id, func.sum(minute.jobs))
        .where(among(minute.campaign_id, campaign_ids), minute.minute > func.now() - 2 * MINUTE)
        .group_by(minute.writer, minute.campaign_id)
    )
    found = session.execute(query).all() if campaign_ids else []
    return {(writer, number): float(jobs) / (2 * MINUTE.total_seconds()) for writer, number, jobs in found}


def _elsewhere(session: Session) -> dict[tuple[int, int], int]:
    """How many pending tasks are left to other clusters now, by cluster and campaign."""
    query = (
        select(Task.failed_on, Task.campaign_id, func.count())
        .where(Task.state == TaskState.PENDING, Task.elsewhere_until > func.now())
        .where(func.coalesce(Task.not_before, func.now()) <= func.now())  # the others wait for everybody
        .group_by(Task.failed_on, Task.campaign_id)
    )
    return {(place or 0, number): count for place, number, count in session.execute(query)}


def speeds(session: Session, campaign_ids: Collection[int]) -> dict[int, dict[int, Speed]]:
    """How quick the clusters of these campaigns are: campaign -> cluster -> what is known."""
    ends = (
        select(
            CampaignEnd.campaign_id,
            CampaignEnd.cluster_id,
            func.sum(CampaignEnd.timed).label("done"),
            func.sum(CampaignEnd.seconds).label("seconds"),
        )
        .where(CampaignEnd.outcome == "success", CampaignEnd.campaign_id.in_(campaign_ids))
        .group_by(CampaignEnd.campaign_id, CampaignEnd.cluster_id)
        .subquery()
    )
    pair = CampaignCluster
    query = (
        select(pair.campaign_id, pair.cluster_id, Cluster.power, ends.c.done, ends.c.seconds)
        .join(Cluster, Cluster.id == pair.cluster_id)
        .outerjoin(ends, (ends.c.campaign_id == pair.campaign_id) & (ends.c.cluster_id == pair.cluster_id))
        .where(pair.campaign_id.in_(campaign_ids))
    )
    found: dict[int, dict[int, Speed]] = defaultdict(dict)
    if not campaign_ids:
        return found
    left = _elsewhere(session)
    for number, place, power, done, seconds in session.execute(query):
        found[number][place] = Speed(int(done or 0), float(seconds or 0), float(power), left.get((place, number), 0))
    return found


def others(flying: Sequence[Flying], backlogs: Sequence[Backlog]) -> Others:
    """What is in flight on a cluster besides the jobs of its backlog."""
    there = {backlog.campaign_id for backlog in backlogs if backlog.room > 0}
    outside = [each for each in flying if each.campaign_id not in there]
    reserved: dict[str, float] = defaultdict(float)
    spent: dict[str, float] = defaultdict(float)
    for each in outside:
        reserved[each.user] += each.reserved
        spent[each.user] += each.spent
    return Others(reserved, sum(each.live for each in outside), sum(each.ahead for each in flying), spent)


def _pending() -> Subquery:
    """How many tasks of the campaigns in treatment are pending and not to wait for a while."""
    delayed = select(func.count()).where(
        Task.campaign_id == CampaignCount.campaign_id, Task.state == TaskState.PENDING, Task.not_before > func.now()
    )
    left = func.sum(CampaignCount.pending) - delayed.scalar_subquery()
    return (
        select(CampaignCount.campaign_id, left.cast(Integer()).label("pending"))
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
