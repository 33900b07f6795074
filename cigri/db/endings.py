"""Campaigns that have nothing left to do."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from cigri.core.states import CampaignState
from cigri.db import events, stages
from cigri.db.tables import LIVING, Campaign, CampaignCount, Job


def terminate_finished(session: Session) -> list[int]:
    """Terminate the campaigns in treatment without pending task or live job; their ids."""
    finished = _finished()
    # Found without a lock, then tested again under it: tasks may have been added meanwhile.
    candidates = session.scalars(select(Campaign.id).where(*finished)).all()
    ended = []
    for campaign_id in sorted(candidates):
        session.execute(select(Campaign.id).where(Campaign.id == campaign_id).with_for_update())
        change = (
            update(Campaign)
            .where(Campaign.id == campaign_id, *finished)
            .values(state=CampaignState.TERMINATED, ended_at=func.now())
            .returning(Campaign.id)
            .execution_options(synchronize_session=False)
        )
        if session.scalar(change) is not None:
            ended.append(campaign_id)
            events.record(session, events.News("FINISHED_CAMPAIGN", "campaign finished", campaign_id))
    return ended


def _finished() -> tuple[ColumnElement[bool], ...]:
    left = (
        select(func.coalesce(func.sum(CampaignCount.pending + CampaignCount.active), 0))
        .where(CampaignCount.campaign_id == Campaign.id)
        .scalar_subquery()
    )
    live = select(Job.id).where(Job.campaign_id == Campaign.id, LIVING).exists()
    return (Campaign.state == CampaignState.IN_TREATMENT, left == 0, ~live, ~stages.unfinished())
