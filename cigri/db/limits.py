"""What administrators allow the grid to send to their clusters, and what it has sent lately."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import Float, Integer, func, select
from sqlalchemy.orm import Session

from cigri.core.control import Limits
from cigri.core.states import JobState
from cigri.db.arrays import among, rows
from cigri.db.tables import LIVING, Cluster, Job, Submission


def limits(session: Session, max_waiting: int) -> dict[int, Limits]:
    """The limits of each cluster."""
    query = select(Cluster.id, Cluster.max_jobs, Cluster.max_per_minute).where(Cluster.removed_at.is_(None))
    return {row[0]: Limits(max_waiting, row[1], row[2]) for row in session.execute(query)}


def sent(session: Session, lately: Mapping[int, float]) -> dict[int, int]:
    """How many jobs were sent to each of these clusters in its last so many seconds, or are about to be."""
    if not lately:
        return {}
    window = rows("lately", cluster_id=(Integer(), list(lately)), seconds=(Float(), list(lately.values())))
    since = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, window.c.seconds)
    query = (
        select(Submission.cluster_id, func.sum(Submission.size))
        .join(window, (Submission.cluster_id == window.c.cluster_id) & (Submission.sent_at > since))
        .group_by(Submission.cluster_id)
    )
    launched = (
        select(Job.cluster_id, func.count())
        .where(among(Job.cluster_id, lately), LIVING, Job.state == JobState.TO_LAUNCH)
        .group_by(Job.cluster_id)
    )
    found = Counter({cluster_id: int(jobs) for cluster_id, jobs in session.execute(query)})
    found.update(dict(session.execute(launched).all()))
    return dict(found)
