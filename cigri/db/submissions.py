"""Submissions: what is about to be asked of a cluster, committed under a name before the request leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, cast

import msgspec
from sqlalchemy import BigInteger, Integer, Table, bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from cigri.core.control import LEARNING
from cigri.core.states import CampaignState, JobKind, JobState, StageState, SubmissionState, TaskState
from cigri.db import events, stages
from cigri.db.arrays import Rows, among
from cigri.db.jobs import give_back
from cigri.db.mappings import login_of
from cigri.db.tables import Allowance, Campaign, CampaignCluster, Cluster, ClusterStatus, Job, Submission, Task

_NO_SYNC = {"synchronize_session": False}
MAX_RETURNS = 3


@dataclass(frozen=True, slots=True)
class Claimed:
    """Tasks taken out of the bag for one submission: (job id, line) in the order of the array.

    `remote_clock`: the cluster's time before, unix seconds.
    """

    submission_id: int
    name: str
    login: str
    campaign_id: int
    jdl: dict[str, Any]
    remote_clock: float
    lines: tuple[tuple[int, str], ...]
    kind: JobKind = JobKind.TASK


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A submission whose fate is not known. `age` is seconds by the database's clock."""

    id: int
    name: str
    login: str
    campaign_id: int
    remote_clock: float
    size: int
    age: float
    job_ids: frozenset[int]


class Adopted(msgspec.Struct, frozen=True, gc=False):
    """A job of a submission as it was found on the cluster."""

    job_id: int
    remote_id: int
    array_index: int | None
    chain: tuple[int, ...] = ()


_HERE, _CAMPAIGN = bindparam("here", type_=Integer()), bindparam("campaign", type_=Integer())
_CLAIMABLE = (
    select(Campaign.grid_user, Campaign.jdl)
    .join(CampaignCluster, CampaignCluster.campaign_id == Campaign.id)
    .join(Cluster, Cluster.id == CampaignCluster.cluster_id)
    .where(
        Cluster.enabled,
        Cluster.removed_at.is_(None),
        Campaign.id == _CAMPAIGN,
        CampaignCluster.cluster_id == _HERE,
        Campaign.state == CampaignState.IN_TREATMENT,
        ~events.blacklisted(_HERE, _CAMPAIGN),
        stages.ready(),
    )
    .with_for_update(read=True, of=Campaign, skip_locked=True)
)


def claim(
    session: Session,
    *,
    cluster_id: int,
    url_generation: int,
    campaign_id: int,
    name: str,
    remote_clock: float,
    limit: int,
) -> Claimed | None:
    """Take tasks of a campaign under its allowance on this cluster; None when there is nothing to take.

    The campaign must be in treatment and not blacklisted here, and stays so until the transaction ends.
    """
    there = {"here": cluster_id, "campaign": campaign_id}
    campaign = session.execute(_CLAIMABLE, there).one_or_none()
    if campaign is None:
        return None
    tasks = _take_tasks(session, there, limit)
    if not tasks:
        return None
    login = login_of(session, campaign.grid_user, cluster_id)
    submission_id = _open(session, name, campaign_id, cluster_id, login, url_generation, len(tasks), remote_clock)
    stages.owe_epilogue(session, campaign_id, cluster_id)
    jobs = _open_jobs(session, submission_id, there, list(tasks))
    lines = tuple(sorted([(job_id, tasks[task_id]) for task_id, job_id in jobs.items()]))
    return Claimed(submission_id, name, login, campaign_id, campaign.jdl, remote_clock, lines)


def claim_stage(
    session: Session, *, job_id: int, cluster_id: int, url_generation: int, name: str, remote_clock: float
) -> Claimed | None:
    """Take the job of a prologue or epilogue that is to be launched; None when it is not any more."""
    query = (
        select(Job.kind, Job.campaign_id, Campaign.grid_user, Campaign.jdl)
        .join(Campaign, Campaign.id == Job.campaign_id)
        .where(Job.id == job_id, Job.state == JobState.TO_LAUNCH, Job.kill_at.is_(None), stages.may_run())
        .with_for_update(of=Job)
    )
    job = session.execute(query).one_or_none()
    if job is None:
        return None
    login = login_of(session, job.grid_user, cluster_id)
    submission_id = _open(session, name, job.campaign_id, cluster_id, login, url_generation, 1, remote_clock)
    session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(state=JobState.LAUNCHING, submission_id=submission_id)
        .execution_options(**_NO_SYNC)
    )
    return Claimed(submission_id, name, login, job.campaign_id, job.jdl, remote_clock, ((job_id, ""),), job.kind)


def _open(
    session: Session,
    name: str,
    campaign_id: int,
    cluster_id: int,
    login: str,
    url_generation: int,
    size: int,
    remote_clock: float,
) -> int:
    submission = insert(Submission).values(
        name=name,
        campaign_id=campaign_id,
        cluster_id=cluster_id,
        login=login,
        url_generation=url_generation,
        size=size,
        remote_clock=remote_clock,
    )
    return session.execute(submission.returning(Submission.id)).scalar_one()


_ALLOWED = (Allowance.cluster_id == _HERE, Allowance.campaign_id == _CAMPAIGN)
_ALLOWANCE = select(Allowance.tasks).where(*_ALLOWED).with_for_update()
_USE_ALLOWANCE = (
    update(Allowance).where(*_ALLOWED).values(tasks=bindparam("left", type_=Integer())).execution_options(**_NO_SYNC)
)
# Until the transaction ends, what is ordered is read in the order of an index, where there is one. Of a campaign that
# came after the last ANALYZE the planner expects a row or two, and would sort all its pending tasks each time.
_BY_INDEX = text("SELECT set_config('enable_sort', 'off', true)")
_DUE = (
    select(Task.id)
    .where(
        Task.campaign_id == _CAMPAIGN,
        Task.state == TaskState.PENDING,
        func.coalesce(Task.not_before, func.now()) <= func.now(),
        Task.failed_on.is_distinct_from(_HERE) | (func.coalesce(Task.elsewhere_until, func.now()) <= func.now()),
    )
    .order_by(Task.priority.desc(), Task.id)
    .limit(bindparam("most", type_=Integer()))
    .with_for_update(skip_locked=True)
    # Read once: a planner that expects few tasks may read a subquery again for each, and skip those that it has locked.
    .cte("due")
    .prefix_with("MATERIALIZED")
)
_TAKE = (
    update(Task)
    .where(Task.id == _DUE.c.id)
    .values(state=TaskState.ACTIVE, not_before=None, elsewhere_until=None)
    .returning(Task.priority, Task.id, Task.line)
    .execution_options(**_NO_SYNC)
)


def _take_tasks(session: Session, there: dict[str, int], limit: int) -> dict[int, str]:
    """Tasks that may go there now, the most urgent first: task id -> line."""
    allowance = session.scalar(_ALLOWANCE, there)
    if not allowance:
        return {}
    session.execute(_BY_INDEX)
    found = session.execute(_TAKE, {**there, "most": min(limit, allowance)}).all()
    taken = sorted([(-priority, task_id, line) for priority, task_id, line in found])
    session.execute(_USE_ALLOWANCE, {**there, "left": allowance - len(taken) if taken else 0})
    return {task_id: line for _, task_id, line in taken}


_TAKEN = Rows("taken", id=BigInteger())
_JOBS = cast("Table", Job.__table__)
_OPEN_JOBS = (
    insert(_JOBS)
    .from_select(
        ["task_id", "campaign_id", "cluster_id", "submission_id", "state"],
        select(
            _TAKEN.c.id,
            _CAMPAIGN,
            _HERE,
            bindparam("submission", type_=BigInteger()),
            bindparam("launching", JobState.LAUNCHING, Job.state.type),
        ),
    )
    .returning(_JOBS.c.task_id, _JOBS.c.id)
)


def _open_jobs(session: Session, submission_id: int, there: dict[str, int], task_ids: Sequence[int]) -> dict[int, int]:
    """One job being sent for each task: task id -> job id."""
    given = {**there, **_TAKEN.given(id=task_ids), "submission": submission_id}
    return {task_id: job_id for task_id, job_id in session.execute(_OPEN_JOBS, given) if task_id is not None}


def unsettled(session: Session, cluster_id: int) -> list[Unsettled]:
    """The submissions to this cluster whose fate is not known, oldest first."""
    jobs = (
        select(func.array_agg(Job.id, type_=ARRAY(BigInteger())))
        .where(Job.submission_id == Submission.id, Job.state == JobState.LAUNCHING)
        .scalar_subquery()
    )
    query = (
        select(
            Submission.id,
            Submission.name,
            Submission.login,
            Submission.campaign_id,
            Submission.remote_clock,
            Submission.size,
            func.extract("epoch", func.now() - Submission.sent_at),
            jobs,
        )
        .where(Submission.cluster_id == cluster_id, Submission.state == SubmissionState.SENDING)
        .order_by(Submission.id)
    )
    return [
        Unsettled(row[0], row[1], row[2], row[3], row[4], row[5], float(row[6]), frozenset(row[7] or ()))
        for row in session.execute(query)
    ]


_ARRIVED = Rows("arrived", id=BigInteger(), remote_id=BigInteger(), array_index=Integer())
_SUBMITTED = (
    update(Job)
    .where(
        # By their ids, never by the index of submissions: each job would be compared with each.
        Job.id == _ARRIVED.c.id,
        Job.submission_id.is_not_distinct_from(bindparam("submission", type_=BigInteger())),
        Job.state == JobState.LAUNCHING,
    )
    .values(state=JobState.SUBMITTED, remote_id=_ARRIVED.c.remote_id, array_index=_ARRIVED.c.array_index)
    .execution_options(**_NO_SYNC)
)


def settle(
    session: Session, submission_id: int, found: Sequence[Adopted], array_id: int | None, *, complete: bool = False
) -> list[int]:
    """The submission is on the cluster with these jobs; tasks whose job is not among them go back: their ids.

    `complete`: none is missing, so none is looked for.
    """
    if found:
        given = _ARRIVED.given(
            id=[each.job_id for each in found],
            remote_id=[each.remote_id for each in found],
            array_index=[each.array_index for each in found],
        )
        session.execute(_SUBMITTED, {**given, "submission": submission_id})
        for each in found:
            if each.chain:
                session.execute(update(Job).where(Job.id == each.job_id).values(chain=list(each.chain)))
    missing = [] if complete else give_back(session, submission_id, counted=False)
    _close(session, submission_id, SubmissionState.SETTLED, array_id=array_id)
    return missing


def void(session: Session, submission_id: int, message: str, *, counted: bool) -> bool:
    """The submission never reached the cluster: its tasks go back.

    `counted`: it was taken as absent after looking; then whether some task came back so too many times.
    """
    tasks = give_back(session, submission_id, counted=counted)
    _close(session, submission_id, SubmissionState.VOID, message=message)
    if not counted or not tasks:
        return False
    worn = update(Task).where(among(Task.id, tasks), Task.returns >= MAX_RETURNS).values(returns=0)
    return bool(session.execute(worn.returning(Task.id).execution_options(**_NO_SYNC)).all())


def refuse(session: Session, submission_id: int, news: events.News) -> None:
    """The cluster refused the submission: its jobs end, its tasks go back, `news` says why."""
    event_id = events.record(session, news)
    campaign = session.scalar(select(Campaign.state).where(Campaign.id == news.campaign_id).with_for_update(read=True))
    ended = (
        update(Job)
        .where(Job.submission_id == submission_id, Job.state == JobState.LAUNCHING)
        .values(state=JobState.EVENT, outcome="refused", event_id=event_id, ended_at=func.now())
        .returning(Job.id, Job.task_id)
        .execution_options(**_NO_SYNC)
    )
    jobs = session.execute(ended).all()
    stages.ended(session, [(job.id, StageState.FAILED) for job in jobs if job.task_id is None])
    tasks = [job.task_id for job in jobs if job.task_id is not None]
    place = TaskState.CANCELLED if campaign is CampaignState.CANCELLED else TaskState.PENDING
    session.execute(
        update(Task)
        .where(among(Task.id, tasks), Task.state == TaskState.ACTIVE)
        .values(state=place)
        .execution_options(**_NO_SYNC)
    )
    _close(session, submission_id, SubmissionState.REFUSED, message=news.message)


def note_durations(session: Session, cluster_id: int, seconds: Sequence[float]) -> None:
    """Remember how long some answers to submissions took: the slowest, and the usual."""
    if not seconds:
        return
    status, usual = ClusterStatus, 1 - (1 - LEARNING) ** len(seconds)
    session.execute(
        update(status)
        .where(status.cluster_id == cluster_id)
        .values(
            slowest_submission=func.greatest(status.slowest_submission, max(seconds)),
            submission_time=status.submission_time + usual * (fmean(seconds) - status.submission_time),
        )
        .execution_options(**_NO_SYNC)
    )


def _close(session: Session, submission_id: int, state: SubmissionState, **fields: object) -> None:
    session.execute(
        update(Submission)
        .where(Submission.id == submission_id, Submission.state == SubmissionState.SENDING)
        .values(state=state, settled_at=func.now(), **fields)
        .execution_options(**_NO_SYNC)
    )
