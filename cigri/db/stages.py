"""Prologues and epilogues: when they become due, their jobs, and what their ends mean for the campaign there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, and_, bindparam, func, literal, or_, select, update
from sqlalchemy import insert as sql_insert
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from cigri.core.outcome import Outcome
from cigri.core.states import CampaignState, JobKind, JobState, StageState
from cigri.db.arrays import among, rows
from cigri.db.events import blacklisted
from cigri.db.tables import LIVING, Campaign, CampaignCluster, CampaignCount, Cluster, Job, Stage

_NO_SYNC = {"synchronize_session": False}
_OPEN = (StageState.DUE, StageState.ACTIVE)


def ready() -> ColumnElement[bool]:
    """Whether the campaign may send tasks to the cluster, in a query that has Campaign and CampaignCluster.

    Its prologue of this round has ended well, and no epilogue is under way.
    """
    prologue, epilogue = aliased(Stage), aliased(Stage)
    done = select(prologue.state).where(
        _of_pair(prologue, JobKind.PROLOGUE), prologue.round == Campaign.round, prologue.state == StageState.DONE
    )
    ending = select(epilogue.state).where(_of_pair(epilogue, JobKind.EPILOGUE), epilogue.state.in_(_OPEN))
    return and_(or_(~CampaignCluster.prologue, done.exists()), ~ending.exists())


def _of_pair(stage: Any, kind: JobKind) -> ColumnElement[bool]:
    return and_(
        stage.campaign_id == CampaignCluster.campaign_id,
        stage.cluster_id == CampaignCluster.cluster_id,
        stage.kind == kind,
    )


def open_prologues(session: Session) -> int:
    """A prologue is due where a campaign with tasks left may run and has not had one in this round."""
    stage = aliased(Stage)
    left = select(func.sum(CampaignCount.pending)).where(CampaignCount.campaign_id == Campaign.id).scalar_subquery()
    had = select(stage.state).where(_of_pair(stage, JobKind.PROLOGUE), stage.round == Campaign.round)
    wanted = (
        select(Campaign.id, CampaignCluster.cluster_id, literal(JobKind.PROLOGUE, Stage.kind.type), Campaign.round)
        .join(CampaignCluster, CampaignCluster.campaign_id == Campaign.id)
        .join(Cluster, Cluster.id == CampaignCluster.cluster_id)
        .where(
            Campaign.state == CampaignState.IN_TREATMENT,
            CampaignCluster.prologue,
            Cluster.enabled,
            Cluster.removed_at.is_(None),
            left > 0,
            ~had.exists(),
            ~blacklisted(CampaignCluster.cluster_id, CampaignCluster.campaign_id),
        )
    )
    return _open(session, wanted)


def open_epilogues(session: Session) -> int:
    """An epilogue is due where something was begun and nothing is left to do, nor will be in this round."""
    opened = 0
    owing = (
        select(CampaignCluster.campaign_id)
        .join(Cluster, Cluster.id == CampaignCluster.cluster_id)
        .where(CampaignCluster.owes_epilogue, Cluster.removed_at.is_(None))
    )
    ended = or_(Campaign.state == CampaignState.CANCELLED, _nothing_left())
    candidates = select(Campaign.id).where(Campaign.id.in_(owing), ended).order_by(Campaign.id)
    for campaign_id in session.scalars(candidates).all():
        # Under the campaign's lock nobody claims: what is seen idle stays so.
        session.execute(select(Campaign.id).where(Campaign.id == campaign_id).with_for_update(key_share=True))
        live = select(Job.id).where(
            Job.campaign_id == CampaignCluster.campaign_id,
            Job.cluster_id == CampaignCluster.cluster_id,
            LIVING,
        )
        wanted = (
            select(Campaign.id, CampaignCluster.cluster_id, literal(JobKind.EPILOGUE, Stage.kind.type), Campaign.round)
            .join(CampaignCluster, CampaignCluster.campaign_id == Campaign.id)
            .join(Cluster, Cluster.id == CampaignCluster.cluster_id)
            .where(Campaign.id == campaign_id, CampaignCluster.owes_epilogue, Cluster.removed_at.is_(None))
            .where(ended, ~live.exists())
        )
        opened += _open(session, wanted)
    return opened


def _nothing_left() -> ColumnElement[bool]:
    left = select(func.coalesce(func.sum(CampaignCount.pending + CampaignCount.active), 0)).where(
        CampaignCount.campaign_id == Campaign.id
    )
    return and_(Campaign.state == CampaignState.IN_TREATMENT, left.scalar_subquery() == 0)


def _open(session: Session, wanted: Any) -> int:
    statement = insert(Stage).from_select(["campaign_id", "cluster_id", "kind", "round"], wanted)
    opened = session.execute(statement.on_conflict_do_nothing().returning(Stage.campaign_id))
    return len(opened.all())


@dataclass(frozen=True, slots=True)
class Due:
    """A prologue or epilogue that may have its job now."""

    kind: JobKind
    campaign_id: int
    cluster_id: int
    round: int
    user: str


def due(session: Session) -> list[Due]:
    """The stages that are due and may run, locked, the oldest campaigns' first."""
    may_be_launched = or_(
        and_(
            Stage.kind == JobKind.PROLOGUE,
            Campaign.state == CampaignState.IN_TREATMENT,
            ~blacklisted(Stage.cluster_id, Stage.campaign_id),
        ),
        and_(
            Stage.kind == JobKind.EPILOGUE,
            Campaign.state.in_((CampaignState.IN_TREATMENT, CampaignState.CANCELLED)),
            ~blacklisted(Stage.cluster_id),
        ),
    )
    query = (
        select(Stage.kind, Stage.campaign_id, Stage.cluster_id, Stage.round, Campaign.grid_user)
        .join(Campaign, Campaign.id == Stage.campaign_id)
        .join(Cluster, Cluster.id == Stage.cluster_id)
        .where(Stage.state == StageState.DUE, Cluster.enabled, Cluster.removed_at.is_(None), may_be_launched)
        .order_by(Stage.campaign_id, Stage.cluster_id)
        .with_for_update(of=Stage)
    )
    return [Due(*row) for row in session.execute(query)]


def launch(session: Session, wanted: Sequence[Due]) -> int:
    """A job for each of these stages; how many."""
    if not wanted:
        return 0
    jobs = [
        {"kind": each.kind, "campaign_id": each.campaign_id, "cluster_id": each.cluster_id, "state": JobState.TO_LAUNCH}
        for each in wanted
    ]
    job_ids = session.scalars(sql_insert(Job).returning(Job.id, sort_by_parameter_order=True), jobs).all()
    launched = rows(
        "launched",
        kind=(Stage.kind.type, [each.kind for each in wanted]),
        campaign_id=(Integer(), [each.campaign_id for each in wanted]),
        cluster_id=(Integer(), [each.cluster_id for each in wanted]),
        round=(Integer(), [each.round for each in wanted]),
        job_id=(BigInteger(), job_ids),
    )
    key = (Stage.kind, Stage.campaign_id, Stage.cluster_id, Stage.round)
    change = update(Stage).where(*(column == launched.c[column.key] for column in key))
    session.execute(change.values(state=StageState.ACTIVE, job_id=launched.c.job_id).execution_options(**_NO_SYNC))
    return len(wanted)


def may_run() -> ColumnElement[bool]:
    """Whether the job of a stage may be sent now, in a query that has Job and its Campaign."""
    epilogue = and_(Job.kind == JobKind.EPILOGUE, Campaign.state == CampaignState.CANCELLED)
    return and_(
        or_(Campaign.state == CampaignState.IN_TREATMENT, epilogue),
        or_(Job.kind == JobKind.EPILOGUE, ~blacklisted(Job.cluster_id, Job.campaign_id)),
        ~blacklisted(Job.cluster_id),
    )


def drop_needless(session: Session) -> int:
    """End the jobs that were to be launched, and are marked since or are prologues of no task that is left."""
    left = select(func.sum(CampaignCount.pending)).where(CampaignCount.campaign_id == Job.campaign_id).scalar_subquery()
    needless = and_(Job.kind == JobKind.PROLOGUE, func.coalesce(left, 0) == 0)
    change = (
        update(Job)
        .where(LIVING, Job.state == JobState.TO_LAUNCH, or_(Job.kill_at.is_not(None), needless))
        .values(state=JobState.EVENT, outcome=Outcome.CANCELLED.value, ended_at=func.now())
        .returning(Job.id)
        .execution_options(**_NO_SYNC)
    )
    dropped = session.scalars(change).all()
    ended(session, [(job_id, StageState.FAILED) for job_id in dropped])
    return len(dropped)


def to_launch(session: Session, cluster_id: int) -> Sequence[tuple[int, int]]:
    """The jobs of prologues and epilogues that the cluster is to get, oldest first: (job id, campaign id)."""
    query = select(Job.id, Job.campaign_id).where(
        Job.cluster_id == cluster_id, LIVING, Job.state == JobState.TO_LAUNCH, Job.kill_at.is_(None)
    )
    return session.execute(query.order_by(Job.id)).all()


def ended(session: Session, ends: Sequence[tuple[int, StageState]]) -> None:
    """The stages of these jobs are done, failed, or due again; a prologue that is done makes its epilogue owed."""
    if not ends:
        return
    end = rows(
        "end_of_stage",
        job_id=(BigInteger(), [job_id for job_id, _ in ends]),
        state=(Stage.state.type, [state for _, state in ends]),
    )
    change = (
        update(Stage)
        .where(Stage.job_id == end.c.job_id, Stage.state == StageState.ACTIVE)
        .values(state=end.c.state)
        .returning(Stage.campaign_id, Stage.cluster_id, Stage.kind, Stage.state)
        .execution_options(**_NO_SYNC)
    )
    for campaign_id, cluster_id, kind, state in session.execute(change).all():
        if kind is JobKind.PROLOGUE and state is StageState.DONE:
            owe_epilogue(session, campaign_id, cluster_id)
        if kind is JobKind.EPILOGUE and state is not StageState.DUE:
            _forgive(session, campaign_id, cluster_id)


_OWE = (
    update(CampaignCluster)
    .where(
        CampaignCluster.campaign_id == bindparam("campaign", type_=Integer()),
        CampaignCluster.cluster_id == bindparam("here", type_=Integer()),
        CampaignCluster.epilogue,
        ~CampaignCluster.owes_epilogue,
    )
    .values(owes_epilogue=True)
    .execution_options(**_NO_SYNC)
)


def owe_epilogue(session: Session, campaign_id: int, cluster_id: int) -> None:
    """Something was begun there: if the campaign has an epilogue for the cluster, it is owed."""
    session.execute(_OWE, {"campaign": campaign_id, "here": cluster_id})


def _forgive(session: Session, campaign_id: int, cluster_id: int) -> None:
    session.execute(
        update(CampaignCluster)
        .where(CampaignCluster.campaign_id == campaign_id, CampaignCluster.cluster_id == cluster_id)
        .values(owes_epilogue=False)
        .execution_options(**_NO_SYNC)
    )


def retry(session: Session, event_ids: Iterable[int], campaign_ids: Sequence[int], *kinds: JobKind) -> Sequence[int]:
    """Make the stages of these campaigns due again whose failure these events tell; their campaigns."""
    told = select(Job.id).where(among(Job.event_id, event_ids))
    change = (
        update(Stage)
        .where(Stage.job_id.in_(told), Stage.state == StageState.FAILED, Stage.kind.in_(kinds))
        .where(Stage.campaign_id.in_(campaign_ids))
        .values(state=StageState.DUE)
        .returning(Stage.campaign_id)
        .execution_options(**_NO_SYNC)
    )
    return session.scalars(change).all()


def unfinished() -> ColumnElement[bool]:
    """Whether a campaign (in a query that has Campaign) still has a stage to run, or owes an epilogue."""
    # A prologue that waits for a cluster does not hold up a campaign that others have completed.
    stage = (
        select(Stage.state)
        .join(Cluster, Cluster.id == Stage.cluster_id)
        .where(
            Stage.campaign_id == Campaign.id,
            Cluster.removed_at.is_(None),
            or_(
                Stage.state == StageState.ACTIVE,
                and_(Stage.state == StageState.DUE, Stage.kind == JobKind.EPILOGUE),
            ),
        )
    )
    owing = (
        select(CampaignCluster.cluster_id)
        .join(Cluster, Cluster.id == CampaignCluster.cluster_id)
        .where(CampaignCluster.campaign_id == Campaign.id, CampaignCluster.owes_epilogue, Cluster.removed_at.is_(None))
    )
    return or_(stage.exists(), owing.exists())


def begin_round(session: Session, campaign: Campaign) -> None:
    """More tasks come: after an epilogue became due they are a round of their own, with its own prologue."""
    had = select(func.count().cast(Integer())).where(
        Stage.campaign_id == campaign.id, Stage.kind == JobKind.EPILOGUE, Stage.round == campaign.round
    )
    if session.execute(had).scalar_one():
        campaign.round += 1
        session.flush()
