"""Campaigns as their owners change them: made, added to, paused, resumed, renamed, cancelled.

Every change locks the campaign's row and looks again inside. The lock is FOR NO KEY UPDATE: it keeps out
claims (FOR SHARE), closing and every other change, but not new rows that refer to the campaign.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import BigInteger, any_, delete, func, insert, literal, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from cigri.core.jdl_settings import ClusterJob
from cigri.core.states import UNFINISHED, CampaignState, TaskState
from cigri.db import archive, events, kills, stages
from cigri.db.copying import copy_texts
from cigri.db.engine import notify
from cigri.db.tables import LIVING, Campaign, CampaignCluster, IdempotencyKey, Job, Task
from cigri.errors import CigriError

_KEY_SPACE = 0x4B  # advisory locks of idempotency keys; clusters and duties use other spaces


class NoSuchCampaign(CigriError):
    """There is no such campaign."""


class WrongState(CigriError):
    """The campaign's state does not allow that; `state` is what it is."""

    def __init__(self, campaign_id: int, state: CampaignState, what: str) -> None:
        self.state = state
        super().__init__(f"Campaign {campaign_id} is {state}: it cannot be {what}")


class KeyReused(CigriError):
    """An idempotency key came again with another request."""


class CountDiffers(CigriError):
    """Not as many tasks came as were declared: nothing may be committed."""


CANCELLED_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Place:
    """What a campaign is to be like on one cluster (see campaign_clusters)."""

    max_jobs: int | None = None
    urgent: bool = False
    prologue: bool = False
    epilogue: bool = False
    max_failures: int | None = None
    max_retries: int = 0
    retry_exit_codes: Sequence[int] = ()
    share: float = 1.0
    longest: float = 3600.0
    cores: int = 1
    choosy: bool = False

    @classmethod
    def of(cls, job: ClusterJob) -> Place:
        """What the settings of a JDL ask for."""
        return cls(
            1 if job.test_mode else job.max_jobs,
            job.test_mode,
            bool(job.prologue),
            bool(job.epilogue),
            job.max_failures,
            job.retries,
            list(job.retry_exit_codes),
            job.share,
            float(max(1, job.walltime.seconds) * job.cores),
            job.cores,
            job.choosy,
        )


class NotClean(CigriError):
    """The campaign still has jobs on its clusters, or was purged."""


@dataclass(frozen=True, slots=True)
class Key:
    """What makes a request that is sent twice one: the client's word for it, and a digest of what it asks."""

    word: str
    digest: str


def create(
    session: Session,
    user: str,
    name: str,
    jdl: Mapping[str, Any],
    clusters: Mapping[int, Place],
    lines: Iterable[str],
    total: int,
) -> int:
    """A new campaign with these tasks; its id. `clusters`: their ids, and what it is to be like there.

    Nobody sees it before the transaction has ended. Raises CountDiffers unless there are `total` lines.
    """
    values = {"grid_user": user, "name": name, "jdl": dict(jdl), "total_tasks": total}
    campaign_id = session.execute(insert(Campaign).values(values).returning(Campaign.id)).scalar_one()
    session.execute(
        insert(CampaignCluster),
        [{"campaign_id": campaign_id, "cluster_id": key, **asdict(place)} for key, place in clusters.items()],
    )
    _copy_tasks(session, campaign_id, lines, total)
    events.record(session, events.News("NEW_CAMPAIGN", f"{name}: {total} tasks", campaign_id=campaign_id))
    notify(session, "campaigns")
    return campaign_id


def add_tasks(session: Session, campaign_id: int, lines: Iterable[str], total: int) -> None:
    """Add tasks to a campaign; one that had terminated runs again. Raises WrongState for a cancelled one."""
    # Before the lock is taken: a million lines would hold up every runner that has the campaign's jobs. They are
    # counted in a row of this connection's own, which nobody else waits for.
    session.execute(text("SELECT set_config('cigri.writer', CAST(-pg_backend_pid() AS text), true)"))
    _copy_tasks(session, campaign_id, lines, total)
    campaign = lock(session, campaign_id)
    if campaign.state is CampaignState.CANCELLED:
        raise WrongState(campaign_id, campaign.state, "added to")
    if campaign.purged_at is not None:
        raise NotClean(f"Campaign {campaign_id} was purged: submit a new one")
    campaign.total_tasks += total
    if total:
        reopen(session, campaign)
    session.flush()
    notify(session, "campaigns")


def reopen(session: Session, campaign: Campaign, *, new_round: bool = True) -> None:
    """The campaign (locked) has something left again: one that had terminated runs, in a new round if need be."""
    if campaign.state is CampaignState.TERMINATED:
        campaign.state, campaign.ended_at = CampaignState.IN_TREATMENT, None
    campaign.archived_at = None
    if new_round:
        stages.begin_round(session, campaign)


def _copy_tasks(session: Session, campaign_id: int, lines: Iterable[str], total: int) -> None:
    count = copy_texts(session, "COPY tasks (campaign_id, line) FROM STDIN", campaign_id, lines)
    if count != total:
        raise CountDiffers(f"{total} tasks were declared, {count} came")


def lock(session: Session, campaign_id: int) -> Campaign:
    """The campaign, locked against claims, closing and other changes until the transaction ends.

    Raises NoSuchCampaign.
    """
    query = select(Campaign).where(Campaign.id == campaign_id).with_for_update(key_share=True)
    campaign = session.scalar(query.execution_options(populate_existing=True))
    if campaign is None:
        raise NoSuchCampaign(f"There is no campaign {campaign_id}")
    return campaign


def pause(session: Session, campaign_id: int) -> None:
    """No new submission; running jobs go on. Raises WrongState unless it is in treatment."""
    _switch(session, campaign_id, CampaignState.IN_TREATMENT, CampaignState.PAUSED, "PAUSED")


def resume(session: Session, campaign_id: int) -> None:
    """Submit again. Raises WrongState unless it is paused."""
    _switch(session, campaign_id, CampaignState.PAUSED, CampaignState.IN_TREATMENT, "RESUMED")


def _switch(session: Session, campaign_id: int, source: CampaignState, target: CampaignState, code: str) -> None:
    campaign, what = lock(session, campaign_id), code.lower()
    if campaign.state is not source:
        raise WrongState(campaign_id, campaign.state, what)
    campaign.state = target
    session.flush()
    events.record(session, events.News(code, f"{campaign.name} is {what}", campaign_id=campaign_id))
    notify(session, "campaigns")


def rename(session: Session, campaign_id: int, name: str) -> None:
    """Give the campaign another name."""
    lock(session, campaign_id).name = name
    session.flush()


def cancel(session: Session, campaign_id: int) -> int:
    """End the campaign: pending tasks are cancelled, live jobs are marked; how many were marked.

    Of a very large campaign the metascheduler cancels the rest of the pending tasks: nobody claims them any more.
    The tasks of marked jobs are cancelled when the clusters have reported their ends. Raises WrongState for a
    campaign that is cancelled or has terminated.
    """
    campaign = lock(session, campaign_id)
    if campaign.state not in UNFINISHED:
        raise WrongState(campaign_id, campaign.state, "cancelled")
    campaign.state, campaign.ended_at = CampaignState.CANCELLED, func.now()
    session.flush()
    # Jobs first: a runner that is ending some is waited for here, and what it gave back is seen below.
    marked = kills.mark_campaign(session, campaign_id, kills.KillReason.CANCELLED)
    campaign.clearing = cancel_pending(session, campaign_id) == CANCELLED_AT_ONCE
    session.flush()
    notify(session, "campaigns")
    return marked


def cancel_pending(session: Session, campaign_id: int) -> int:
    """Cancel pending tasks of a cancelled campaign, CANCELLED_AT_ONCE at most; how many."""
    some = select(Task.id).where(Task.campaign_id == campaign_id, Task.state == TaskState.PENDING)
    ids = literal(session.scalars(some.limit(CANCELLED_AT_ONCE)).all(), ARRAY(BigInteger()))
    change = (
        update(Task)
        .where(Task.id == any_(ids), Task.state == TaskState.PENDING)
        .values(state=TaskState.CANCELLED)
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.execute(change).all())


def purge(session: Session, campaign_id: int) -> None:
    """Drop the tasks and jobs of an ended campaign; its numbers, its events and its description stay.

    Raises WrongState for one that has not ended, or that still has jobs on a cluster.
    """
    campaign = lock(session, campaign_id)
    if campaign.state in UNFINISHED:
        raise WrongState(campaign_id, campaign.state, "purged")
    live = select(Job.id).where(Job.campaign_id == campaign_id, LIVING)
    if session.scalar(select(live.exists())):
        raise NotClean(f"Campaign {campaign_id} still has jobs on its clusters: they are ending, try again later")
    if campaign.purged_at is not None:
        return
    campaign.purged_at, campaign.clearing = func.now(), True
    session.flush()
    events.record(session, events.News("PURGE", "its tasks and jobs are dropped", campaign_id=campaign_id))
    notify(session, "campaigns")


def clear(session: Session) -> bool:
    """Cancel, or drop, some of the tasks of a cancelled or purged campaign; whether to look again."""
    query = select(Campaign).where(Campaign.clearing).order_by(Campaign.id).limit(1).with_for_update()
    campaign = session.scalar(query)
    if campaign is None:
        return False
    clear_some = cancel_pending if campaign.purged_at is None else _drop_tasks
    campaign.clearing = clear_some(session, campaign.id) == CANCELLED_AT_ONCE
    if campaign.purged_at is not None and not campaign.clearing:
        campaign.archived_tasks = 0
    session.flush()
    return True


def _drop_tasks(session: Session, campaign_id: int) -> int:
    dropped = _drop_unarchived(session, campaign_id) or archive.drop(session, campaign_id, CANCELLED_AT_ONCE)
    if dropped:
        return CANCELLED_AT_ONCE  # look again
    stage_jobs = delete(Job).where(Job.campaign_id == campaign_id, Job.task_id.is_(None))
    session.execute(stage_jobs.execution_options(synchronize_session=False))
    return 0


def _drop_unarchived(session: Session, campaign_id: int) -> int:
    some = select(Task.id).where(Task.campaign_id == campaign_id).order_by(Task.id).limit(CANCELLED_AT_ONCE)
    tasks = session.scalars(some).all()
    ids = literal(tasks, ARRAY(BigInteger()))
    for table, key in ((Job, Job.task_id), (Task, Task.id)):
        session.execute(delete(table).where(key == any_(ids)).execution_options(synchronize_session=False))
    return len(tasks)


def answered(session: Session, user: str, key: Key) -> int | None:
    """The campaign that this request made (or added to) when it came before; None if it is new.

    Until the transaction ends nobody else gets past this point with the same key: a request that is sent
    again while the first is worked on waits for it. Raises KeyReused when it was another request.
    """
    name = {"space": _KEY_SPACE, "key": f"{user}\n{key.word}"}
    session.execute(text("SELECT pg_advisory_xact_lock(:space, hashtext(:key))"), name)
    known = session.get(IdempotencyKey, (user, key.word))
    if known is None:
        return None
    if known.request != key.digest:
        raise KeyReused(
            f"Idempotency-Key {key.word} was used for another request (campaign {known.campaign_id}): "
            "a new request needs a new key"
        )
    return known.campaign_id


def remember(session: Session, user: str, key: Key, campaign_id: int) -> None:
    """This request has made, or added to, this campaign."""
    values = {"grid_user": user, "key": key.word, "request": key.digest, "campaign_id": campaign_id}
    session.execute(insert(IdempotencyKey).values(values))
