"""Giving up jobs on a cluster that will not answer any more. Elsewhere a job ends only by what its cluster says."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from cigri.core import outcome
from cigri.core.states import SubmissionState
from cigri.db import jobs
from cigri.db.jobs import End
from cigri.db.tables import LIVING, Cluster, Duty, Job, Submission

BATCH = 1000


def forget_jobs(session: Session, cluster: Cluster) -> int:
    """End all live jobs of the grid on the cluster, whose fate nobody knows; how many they were.

    Their tasks are held for their owners (JOB_LOST), but go back to the bag where the campaign says `rerun_lost`. Who
    follows the cluster just now finds that its duty is somebody else's: what it still writes is refused.
    """
    session.execute(
        update(Duty)
        .where(Duty.name == f"runner {cluster.name}")
        .values(epoch=Duty.epoch + 1)
        .execution_options(synchronize_session=False)
    )
    forgotten = 0
    live = select(Job.id, Job.campaign_id).where(Job.cluster_id == cluster.id, LIVING).order_by(Job.id)
    again: dict[int, bool] = {}
    while found := session.execute(live.limit(BATCH)).all():
        for campaign_id in {row.campaign_id for row in found} - again.keys():
            again[campaign_id] = jobs.rerun_lost(session, campaign_id, cluster.name)
        ends = [End(row.id, outcome.forgotten(rerun=again[row.campaign_id])) for row in found]
        forgotten += len(jobs.finish(session, cluster.id, ends))
    session.execute(
        update(Submission)
        .where(Submission.cluster_id == cluster.id, Submission.state == SubmissionState.SENDING)
        .values(state=SubmissionState.SETTLED, settled_at=func.now(), message="forgotten with its cluster")
        .execution_options(synchronize_session=False)
    )
    return forgotten
