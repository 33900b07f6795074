"""Jobs: which are followed, how they move, how they end. Every move is compare-and-set and takes many at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace
from sqlalchemy import BigInteger, Float, Integer, SmallInteger, String, bindparam, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION
from sqlalchemy.orm import Session

from cigri.core import finish as finishing
from cigri.core import ledger
from cigri.core.outcome import Outcome, Policy, Verdict, of_stage, spent
from cigri.core.states import FINAL, FOLLOWED, JOB_MOVES, CampaignState, JobKind, JobState, StageState, TaskState
from cigri.db import events, stages
from cigri.db.arrays import Rows, among, rows
from cigri.db.tables import LIVING, Campaign, CampaignCluster, Cluster, Job, Submission, Task
from cigri.errors import CigriError

_NO_SYNC = {"synchronize_session": False}
PAGE = 2000


class IllegalMove(CigriError):
    """A move that the life of a job does not have: a bug."""


class Followed(msgspec.Struct, frozen=True, gc=False):
    """A job that the cluster has, as far as the database knows. Ages are seconds by the database's clock."""

    id: int
    task_id: int | None
    campaign_id: int
    state: JobState
    remote_id: int
    chain: tuple[int, ...]
    name: str
    login: str
    kill_reason: str | None
    end_seen: float | None  # since an end was seen that may not be the last word
    missing: float | None  # since a healthy cluster did not know it
    walltimes: int
    array_id: int | None = None
    tries: int = 0
    sent: float = 0.0  # the cluster's time before it was sent, unix seconds


class End(msgspec.Struct, frozen=True):
    """The end of a job as it goes into the database. Times are unix seconds of the cluster, 0 for unknown.

    `remote_id`, `array_index`: of a job that was only being sent until now; None for those that have them.
    """

    job_id: int
    verdict: Verdict
    exit_code: int | None = None
    start_time: float = 0.0
    stop_time: float = 0.0
    node_name: str = ""
    resources: int = 0
    stdout_path: str = ""
    stderr_path: str = ""
    word: str = ""
    tail: str = ""  # the end of its stderr, for the event
    remote_id: int | None = None
    array_index: int | None = None


_FOLLOWED = (
    select(
        Job.id, Job.task_id, Job.campaign_id, Job.state, Job.remote_id, Job.chain, Job.submission_id, Job.kill_reason,
        func.extract("epoch", func.now() - Job.end_seen_at).cast(Float()),
        func.extract("epoch", func.now() - Job.missing_at).cast(Float()),
        func.coalesce(Task.walltimes, 0),
        func.coalesce(Task.tries, 0),
    )
    .outerjoin(Task, Task.id == Job.task_id)
    .where(Job.cluster_id == bindparam("here", type_=Integer()), LIVING, Job.state.in_(FOLLOWED))
    .order_by(Job.id)
)  # fmt: skip
_SENT = select(Submission.id, Submission.name, Submission.login, Submission.array_id, Submission.remote_clock).where(
    among(Submission.id, "submissions")
)


def followed(session: Session, cluster_id: int) -> list[Followed]:
    """The jobs that the cluster has, in order of their ids."""
    found: list[Followed] = []
    sent: dict[int, Any] = {}  # tens of thousands of jobs have few submissions: read once
    parts: Any = session.execute(_FOLLOWED, {"here": cluster_id}).partitions(PAGE)
    for part in parts:
        new = {row[6] for row in part} - sent.keys()
        sent |= {row[0]: row for row in session.execute(_SENT, {"submissions": list(new)})} if new else {}
        for key, task, campaign, state, remote, chain, submission, kill, end_seen, missing, walltimes, tries in part:
            _, name, login, array_id, clock = sent[submission]
            found.append(
                Followed(key, task, campaign, state, remote, tuple(chain), name, login, kill, end_seen, missing,
                         walltimes, array_id, tries, clock)
            )  # fmt: skip
    return found


def move(session: Session, job_ids: Sequence[int], source: JobState, target: JobState, **fields: object) -> set[int]:
    """Move the jobs that are in `source`; the ids of those that were not there any more. Raises IllegalMove."""
    if target not in JOB_MOVES[source] or target in FINAL:
        raise IllegalMove(f"{source} -> {target}")
    change = (
        update(Job)
        .where(among(Job.id, job_ids), Job.state == source)
        .values(state=target, **fields)
        .returning(Job.id)
        .execution_options(**_NO_SYNC)
    )
    return set(job_ids) - set(session.scalars(change))


def started(session: Session, starts: Sequence[tuple[int, float, int | None, int, str]]) -> None:
    """Note what is known of jobs seen running: (job id, start time, walltime, resources, nodes)."""
    if not starts:
        return
    ids, times, walltimes, resources, nodes = (list(column) for column in zip(*starts, strict=True))
    seen = rows(
        "seen",
        id=(BigInteger(), ids),
        start=(DOUBLE_PRECISION(), times),
        walltime=(Integer(), walltimes),
        resources=(Integer(), resources),
        nodes=(String(), nodes),
    )
    session.execute(
        update(Job)
        .where(Job.id == seen.c.id, LIVING)
        .values(
            start_time=_instant(seen.c.start),
            walltime=func.coalesce(seen.c.walltime, Job.walltime),
            resources_used=func.nullif(seen.c.resources, 0),
            node_name=func.nullif(seen.c.nodes, ""),
        )
        .execution_options(**_NO_SYNC)
    )


def _instant(seconds: Any) -> Any:
    return case((seconds > 0, func.to_timestamp(seconds)))


def note_end_seen(session: Session, job_ids: Sequence[int]) -> None:
    """Remember that these ends were seen and are to be looked at once more."""
    _stamp(session, job_ids, end_seen_at=func.coalesce(Job.end_seen_at, func.now()))


def note_missing(session: Session, job_ids: Sequence[int]) -> None:
    """Remember that a healthy cluster did not know these jobs."""
    _stamp(session, job_ids, missing_at=func.coalesce(Job.missing_at, func.now()))


def forget_missing(session: Session, job_ids: Sequence[int]) -> None:
    """They are there after all."""
    _stamp(session, job_ids, missing_at=None)


def _stamp(session: Session, job_ids: Sequence[int], **fields: object) -> None:
    if job_ids:
        change = update(Job).where(among(Job.id, job_ids)).values(**fields)
        session.execute(change.execution_options(**_NO_SYNC))


def follow_new_ids(session: Session, restarted: Sequence[tuple[int, int, int]]) -> None:
    """The cluster started these jobs again under other ids (job, remote id until now, new one): they wait again."""
    if not restarted:
        return
    ids, known, new = (list(column) for column in zip(*restarted, strict=True))
    again = rows("again", id=(BigInteger(), ids), known=(BigInteger(), known), new=(BigInteger(), new))
    session.execute(
        update(Job)
        .where(Job.id == again.c.id, Job.remote_id == again.c.known, Job.state.in_(FOLLOWED))
        .values(
            remote_id=again.c.new,
            chain=func.array_append(Job.chain, again.c.known),
            state=JobState.REMOTE_WAITING,
            start_time=None,
            end_seen_at=None,
            missing_at=None,
        )
        .execution_options(**_NO_SYNC)
    )


class _Ending(NamedTuple):
    """A live job that is locked, and its end. Times are unix seconds."""

    id: int
    task_id: int | None
    campaign_id: int
    kind: JobKind
    start: float | None
    resources: int
    now: float
    end: End


def finish(
    session: Session, cluster_id: int, ends: Sequence[End], max_failures: int = 10, preempted_charge: float = 1.0
) -> set[int]:
    """End these jobs, give their tasks their next place, record their events: the ids of the jobs that were live.

    A task that goes back to the bag of a cancelled campaign is cancelled instead. A task that is done stays done.
    `max_failures`: how many tasks may fail there, for campaigns that do not say. `preempted_charge`: the part of
    what a preempted job has used that its owner is charged.
    """
    by_id = {end.job_id: end for end in ends}
    campaigns = lock_campaigns(session, by_id)
    live = _lock_live(session, by_id)
    told = _record_events(session, cluster_id, live)
    if not live:
        return set()
    _end_jobs(session, live, told)
    _place_tasks(session, cluster_id, live, campaigns)
    _keep_books(session, cluster_id, live, told, max_failures, preempted_charge)
    stages.ended(session, [(job.id, _STAGES[job.end.verdict.task]) for job in live if job.task_id is None])
    return {job.id for job in live}


_LOCK_CAMPAIGNS = (
    select(Campaign.id, Campaign.state)
    .where(Campaign.id.in_(select(Job.campaign_id).where(among(Job.id, "job_ids")).distinct()))
    .order_by(Campaign.id)
    .with_for_update(read=True)
)


def lock_campaigns(session: Session, job_ids: Iterable[int]) -> dict[int, CampaignState]:
    """The campaigns of these jobs, locked against cancelling until the transaction ends."""
    return dict(session.execute(_LOCK_CAMPAIGNS, {"job_ids": list(job_ids)}).all())


_LOCK_LIVE = (
    select(
        Job.id,
        Job.task_id,
        Job.campaign_id,
        Job.kind,
        func.extract("epoch", Job.start_time).cast(Float()),
        func.coalesce(Job.resources_used, 1),
        func.extract("epoch", func.now()).cast(Float()),
    )
    .where(among(Job.id, "job_ids"), LIVING)
    .order_by(Job.id)
    .with_for_update()
)


def _lock_live(session: Session, ends: dict[int, End]) -> list[_Ending]:
    live = [_Ending(*row, ends[row[0]]) for row in session.execute(_LOCK_LIVE, {"job_ids": list(ends)})]
    return [job if job.kind is JobKind.TASK else _of_stage(job) for job in live]


def _of_stage(job: _Ending) -> _Ending:
    return job._replace(end=replace(job.end, verdict=of_stage(job.end.verdict, job.kind)))


def _record_events(session: Session, cluster_id: int, live: Sequence[_Ending]) -> dict[int, int]:
    """Record one event for all alike ends of a campaign; the event of each job that has one."""
    alike: dict[tuple[int, str, str], list[_Ending]] = defaultdict(list)
    for job in live:
        verdict = job.end.verdict
        if verdict.code:
            alike[job.campaign_id, verdict.code, verdict.alike].append(job)
    told: dict[int, int] = {}
    for (campaign_id, code, likeness), ended in sorted(alike.items()):
        first = ended[0].end
        news = events.News(
            code,
            "\n".join(filter(None, (first.verdict.message, first.tail))),
            campaign_id,
            cluster_id,
            ended[0].id,
            ended[-1].id,
            len(ended),
            likeness,
        )
        told.update(dict.fromkeys([job.id for job in ended], events.record(session, news)))
    return told


_END = Rows(
    "end_of_job",
    id=BigInteger(),
    state=Job.state.type,
    outcome=String(),
    exit_code=Integer(),
    start=DOUBLE_PRECISION(),
    stop=DOUBLE_PRECISION(),
    node=String(),
    resources=Integer(),
    stdout=String(),
    stderr=String(),
    word=String(),
    event=BigInteger(),
    remote_id=BigInteger(),
    array_index=Integer(),
)
_END_JOBS = (
    update(Job)
    .where(Job.id == _END.c.id)
    .values(
        state=_END.c.state,
        outcome=_END.c.outcome,
        exit_code=_END.c.exit_code,
        start_time=func.coalesce(_instant(_END.c.start), Job.start_time),
        stop_time=_instant(_END.c.stop),
        node_name=func.coalesce(func.nullif(_END.c.node, ""), Job.node_name),
        resources_used=func.coalesce(func.nullif(_END.c.resources, 0), Job.resources_used),
        stdout_path=func.nullif(_END.c.stdout, ""),
        stderr_path=func.nullif(_END.c.stderr, ""),
        remote_word=func.nullif(_END.c.word, ""),
        event_id=_END.c.event,
        remote_id=func.coalesce(_END.c.remote_id, Job.remote_id),
        array_index=func.coalesce(_END.c.array_index, Job.array_index),
        ended_at=func.now(),
    )
    .execution_options(**_NO_SYNC)
)


def _end_jobs(session: Session, live: Sequence[_Ending], told: dict[int, int]) -> None:
    ends = [job.end for job in live]
    given = _END.given(
        id=[end.job_id for end in ends],
        state=[end.verdict.job for end in ends],
        outcome=[end.verdict.outcome for end in ends],
        exit_code=[end.exit_code for end in ends],
        start=[end.start_time for end in ends],
        stop=[end.stop_time for end in ends],
        node=[end.node_name for end in ends],
        resources=[end.resources for end in ends],
        stdout=[end.stdout_path for end in ends],
        stderr=[end.stderr_path for end in ends],
        word=[end.word for end in ends],
        event=[told.get(end.job_id) for end in ends],
        remote_id=[end.remote_id for end in ends],
        array_index=[end.array_index for end in ends],
    )
    session.execute(_END_JOBS, given)


def _in(seconds: Any) -> Any:
    """The instant after so many seconds; NULL for none."""
    return case((seconds > 0, func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)))


_PLACE = Rows(
    "place",
    id=BigInteger(),
    state=Task.state.type,
    priority=SmallInteger(),
    walltimes=SmallInteger(),
    tries=SmallInteger(),
    delay=DOUBLE_PRECISION(),
    elsewhere=DOUBLE_PRECISION(),
)
_PLACED = (
    update(Task)
    .where(
        Task.id == _PLACE.c.id,
        (Task.state == TaskState.ACTIVE) | ((_PLACE.c.state == TaskState.DONE) & (Task.state != TaskState.DONE)),
    )
    .values(
        state=_PLACE.c.state,
        priority=_PLACE.c.priority,
        walltimes=Task.walltimes + _PLACE.c.walltimes,
        tries=Task.tries + _PLACE.c.tries,
        returns=0,  # its submission had arrived
        not_before=_in(_PLACE.c.delay),
        failed_on=case((_PLACE.c.elsewhere > 0, bindparam("here", type_=Integer())), else_=Task.failed_on),
        elsewhere_until=_in(_PLACE.c.elsewhere),
    )
    .returning(Task.id)
    .cte("placed")
)
# The tasks that were not placed although they are done: by another run.
_PLACE_TASKS = (
    select(_PLACE.c.id)
    .where(_PLACE.c.state == TaskState.DONE, _PLACE.c.id.not_in(select(_PLACED.c.id)))
    .execution_options(**_NO_SYNC)
)


def _place_tasks(
    session: Session, cluster_id: int, live: Sequence[_Ending], campaigns: dict[int, CampaignState]
) -> None:
    placed = [job for job in live if job.task_id is not None]
    verdicts = [job.end.verdict for job in placed]
    cancelled = {each for each, state in campaigns.items() if state is CampaignState.CANCELLED}
    failing = {job.campaign_id for job in placed if job.end.verdict.outcome in finishing.FAILINGS}
    mobile = _with_other_clusters(session, cluster_id, failing) if failing else frozenset()
    given = _PLACE.given(
        id=[job.task_id for job in placed],
        state=[_place(job.end.verdict, job.campaign_id in cancelled) for job in placed],
        priority=[verdict.priority for verdict in verdicts],
        walltimes=[int(verdict.outcome is Outcome.WALLTIME) for verdict in verdicts],
        tries=[int(verdict.counts) for verdict in verdicts],
        delay=[verdict.delay for verdict in verdicts],
        elsewhere=[
            finishing.elsewhere(job.end.verdict.outcome, others=job.campaign_id in mobile) if failing else 0.0
            for job in placed
        ],
    )
    again = set(session.scalars(_PLACE_TASKS, {**given, "here": cluster_id}))
    for job in placed:
        if job.task_id in again:
            message = f"task {job.task_id} had succeeded already: this run is not counted"
            events.record(session, events.News("DUPLICATE_RUN", message, job.campaign_id, cluster_id, job.id))


def _with_other_clusters(session: Session, cluster_id: int, campaign_ids: Iterable[int]) -> frozenset[int]:
    """Which of these campaigns may get jobs on another cluster than this one."""
    pair = CampaignCluster
    query = (
        select(pair.campaign_id)
        .join(Cluster, Cluster.id == pair.cluster_id)
        .where(pair.campaign_id.in_(campaign_ids), pair.cluster_id != cluster_id)
        .where(Cluster.enabled, Cluster.removed_at.is_(None), ~events.blacklisted(pair.cluster_id, pair.campaign_id))
    )
    return frozenset(session.scalars(query))


@dataclass(slots=True)
class _Books:
    """What the ends of some jobs of one campaign add to its books on a cluster."""

    done: int = 0
    failed: int = 0
    ended: int = 0
    used: float = 0.0
    charge: float = 0.0
    longest: float = 0.0
    event: int | None = None

    def add(self, job: _Ending, event: int | None, preempted_charge: float) -> None:
        verdict = job.end.verdict
        if job.task_id is not None and verdict.task is TaskState.DONE:
            self.done += 1
        elif job.task_id is not None and verdict.task is TaskState.FAILED:
            self.failed += 1
            self.event = event or self.event
        preempted, used = verdict.outcome is Outcome.PREEMPTED, _used(job)
        charge = ledger.charged(used, preempted=preempted, preempted_charge=preempted_charge)
        self.charge += charge
        self.longest = max(self.longest, charge)
        if job.task_id is not None and used > 0:  # what one more task will use follows from tasks that ran
            self.ended += 1
            self.used += used


def _used(job: _Ending) -> float:
    """Core-seconds; of a job whose end nobody has seen, until now."""
    end = job.end
    start = end.start_time or (job.start or 0.0)
    if not start:
        return 0.0
    return max(0.0, (end.stop_time or job.now) - start) * (end.resources or job.resources)


_BOOKS = Rows(
    "books",
    campaign_id=Integer(),
    done=Integer(),
    failed=Integer(),
    ended=BigInteger(),
    used=DOUBLE_PRECISION(),
    charge=DOUBLE_PRECISION(),
    longest=DOUBLE_PRECISION(),
)
_PAIR = CampaignCluster
_KEEP_BOOKS = (
    update(_PAIR)
    .where(_PAIR.cluster_id == bindparam("here", type_=Integer()), _PAIR.campaign_id == _BOOKS.c.campaign_id)
    .values(
        done=_PAIR.done + _BOOKS.c.done,
        failed=_PAIR.failed + _BOOKS.c.failed,
        ended=_PAIR.ended + _BOOKS.c.ended,
        used=_PAIR.used + _BOOKS.c.used,
        uncharged=_PAIR.uncharged + _BOOKS.c.charge,
        longest=func.greatest(_PAIR.longest, _BOOKS.c.longest),
    )
    .returning(_PAIR.campaign_id, _PAIR.done, _PAIR.failed, _PAIR.max_failures)
    .execution_options(**_NO_SYNC)
)


def _keep_books(
    session: Session,
    cluster_id: int,
    live: Sequence[_Ending],
    told: dict[int, int],
    max_failures: int,
    preempted_charge: float,
) -> None:
    """Keep the books of the campaigns on this cluster; those that have failed enough get no more jobs there."""
    added: dict[int, _Books] = defaultdict(_Books)
    for job in live:
        added[job.campaign_id].add(job, told.get(job.id), preempted_charge)
    ids = sorted(added)
    given = _BOOKS.given(
        campaign_id=ids,
        done=[added[each].done for each in ids],
        failed=[added[each].failed for each in ids],
        ended=[added[each].ended for each in ids],
        used=[added[each].used for each in ids],
        charge=[added[each].charge for each in ids],
        longest=[added[each].longest for each in ids],
    )
    for row in session.execute(_KEEP_BOOKS, {**given, "here": cluster_id}).all():
        event = added[row.campaign_id].event
        if event is not None and spent(row.done, row.failed, row.max_failures or max_failures):
            events.blacklist(session, event, cluster_id, row.campaign_id)


def policy(session: Session, cluster_id: int, campaign_id: int) -> Policy:
    """What the campaign wants done about tasks that fail on the cluster."""
    query = select(CampaignCluster.max_retries, CampaignCluster.retry_exit_codes).where(
        CampaignCluster.campaign_id == campaign_id, CampaignCluster.cluster_id == cluster_id
    )
    row = session.execute(query).one_or_none()
    return Policy() if row is None else Policy(row.max_retries, frozenset(row.retry_exit_codes))


_STAGES = {
    TaskState.DONE: StageState.DONE,
    TaskState.PENDING: StageState.DUE,
    TaskState.FAILED: StageState.FAILED,
    TaskState.CANCELLED: StageState.FAILED,
}


def _place(verdict: Verdict, cancelled: bool) -> TaskState:
    if cancelled and verdict.task is TaskState.PENDING:
        return TaskState.CANCELLED
    return verdict.task


def give_back(session: Session, submission_id: int, *, counted: bool) -> list[int]:
    """Take the jobs of a submission that are still being sent away, and put their tasks back into the bag.

    `counted`: the submission was taken as absent; the ids of the tasks that came back so. The keys stay with the
    submission, for strays that turn up later.
    """
    lost = select(Job.id).where(Job.submission_id == submission_id, Job.state == JobState.LAUNCHING)
    campaigns = lock_campaigns(session, session.scalars(lost).all())
    ours = session.scalars(lost.where(Job.kind != JobKind.TASK)).all()
    stages.ended(session, [(job_id, StageState.DUE) for job_id in ours])
    gone = (
        delete(Job)
        .where(Job.submission_id == submission_id, Job.state == JobState.LAUNCHING)
        .returning(Job.id, Job.task_id, Job.campaign_id)
        .execution_options(**_NO_SYNC)
    )
    taken = [row for row in session.execute(gone) if row.task_id is not None]
    if not taken:
        return []
    job_ids, task_ids = [row.id for row in taken], [row.task_id for row in taken]
    cancelled = campaigns[taken[0].campaign_id] is CampaignState.CANCELLED
    session.execute(
        update(Task)
        .where(among(Task.id, task_ids), Task.state == TaskState.ACTIVE)
        .values(
            state=TaskState.CANCELLED if cancelled else TaskState.PENDING,
            returns=Task.returns + (1 if counted else 0),
        )
        .execution_options(**_NO_SYNC)
    )
    session.execute(
        update(Submission)
        .where(Submission.id == submission_id)
        .values(
            void_jobs=func.array_cat(Submission.void_jobs, job_ids),
            void_tasks=func.array_cat(Submission.void_tasks, task_ids),
        )
        .execution_options(**_NO_SYNC)
    )
    return [task_id for task_id in task_ids if task_id is not None]


def rerun_lost(session: Session, campaign_id: int, cluster: str) -> bool:
    """Whether the campaign wants tasks run again whose job was lost on this cluster after it had started."""
    setting = select(Campaign.jdl["clusters"][cluster]["rerun_lost"].as_boolean()).where(Campaign.id == campaign_id)
    return bool(session.scalar(setting))
