"""Events that are fixed: closed, with what they held up going on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select, tuple_, update
from sqlalchemy.orm import Session

from cigri.core.events import BLACKLIST
from cigri.core.states import UNFINISHED, CampaignState, EventState, JobKind, TaskState
from cigri.db import archive, campaigns, events, stages
from cigri.db.arrays import among
from cigri.db.engine import notify
from cigri.db.tables import AnyEvent, CampaignCluster, Event, Job, Task

_NO_SYNC = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Fixed:
    """The events that were closed, and how many tasks went back into their bags."""

    events: frozenset[int]
    tasks: int


def fix(session: Session, event_ids: Sequence[int], *, resubmit: bool, healed: bool = False) -> Fixed:
    """Close these events and the blacklists they caused.

    Failed prologues of campaigns that have not terminated are tried again. With `resubmit` so are all failed
    prologues and epilogues, and the tasks that these events set aside; a campaign that had terminated runs again.
    Tasks of cancelled campaigns stay where they are. `healed`: the cause went away by itself, so that what could
    not be sent is sent.
    """
    query = select(AnyEvent.campaign_id).where(among(AnyEvent.id, event_ids), AnyEvent.campaign_id.is_not(None))
    # In order, and before anything else: whoever claims, ends or cancels takes the same lock first.
    locked = [
        campaigns.lock(session, key) for key in sorted(key for key in set(session.scalars(query)) if key is not None)
    ]
    open_campaigns = [
        campaign for campaign in locked if campaign.state is not CampaignState.CANCELLED and campaign.purged_at is None
    ]
    closed = events.close(session, event_ids)
    _forgive_failures(session, closed)
    whole = resubmit or healed
    kinds = (JobKind.PROLOGUE, JobKind.EPILOGUE) if whole else (JobKind.PROLOGUE,)
    living = [
        campaign.id for campaign in locked if campaign.purged_at is None and (whole or campaign.state in UNFINISHED)
    ]
    again = set(stages.retry(session, event_ids, living, *kinds))
    tasks = _put_back(session, event_ids, [campaign.id for campaign in open_campaigns]) if resubmit else {}
    for campaign in open_campaigns:
        if tasks.get(campaign.id) or campaign.id in again:
            campaigns.reopen(session, campaign, new_round=bool(tasks.get(campaign.id)))
    session.flush()
    notify(session, "campaigns")
    return Fixed(frozenset(closed), sum(tasks.values()))


def open_events(session: Session, campaign_id: int) -> Sequence[int]:
    """The open events of a campaign that its owner may fix: all but the blacklists, which go with their parents."""
    query = select(Event.id).where(
        Event.campaign_id == campaign_id, Event.state == EventState.OPEN, Event.code != BLACKLIST
    )
    return session.scalars(query.order_by(Event.id)).all()


def _forgive_failures(session: Session, event_ids: set[int]) -> None:
    """What failed before is not held against the campaign any more."""
    pairs = session.execute(
        select(Event.campaign_id, Event.cluster_id)
        .where(among(Event.id, event_ids), Event.campaign_id.is_not(None), Event.cluster_id.is_not(None))
        .distinct()
    ).all()
    if pairs:
        session.execute(
            update(CampaignCluster)
            .where(tuple_(CampaignCluster.campaign_id, CampaignCluster.cluster_id).in_([tuple(pair) for pair in pairs]))
            .values(failed=0)
            .execution_options(**_NO_SYNC)
        )


def _put_back(session: Session, event_ids: Sequence[int], campaign_ids: Sequence[int]) -> dict[int, int]:
    """The failed tasks whose job these events tell of are pending again: how many of which campaign."""
    back = [
        task_id
        for key in campaign_ids
        for task_id in archive.bring_back(session, key, archive.told_of(session, key, event_ids))
    ]
    told = select(Job.task_id).where(among(Job.event_id, event_ids), Job.task_id.is_not(None))
    told_of = Task.id.in_(told) if not back else or_(Task.id.in_(told), among(Task.id, back))
    change = (
        update(Task)
        .where(told_of, Task.state == TaskState.FAILED, Task.campaign_id.in_(campaign_ids))
        .values(state=TaskState.PENDING, tries=0, walltimes=0, not_before=None)
        .returning(Task.campaign_id)
        .execution_options(**_NO_SYNC)
    )
    counts: dict[int, int] = {}
    for campaign_id in session.scalars(change):
        counts[campaign_id] = counts.get(campaign_id, 0) + 1
    return counts
