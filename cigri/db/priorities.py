"""Whose campaigns come first: the priority of each user on each cluster."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cigri.db.tables import Cluster, UserPriority


def give(session: Session, user: str, cluster_id: int, priority: int) -> None:
    """The user's priority on the cluster, -4 to 4, from now on; 0 is everybody's."""
    if priority == 0:
        mine = delete(UserPriority).where(UserPriority.grid_user == user, UserPriority.cluster_id == cluster_id)
        session.execute(mine.execution_options(synchronize_session=False))
        return
    row = insert(UserPriority).values(grid_user=user, cluster_id=cluster_id, priority=priority)
    keys = [UserPriority.grid_user, UserPriority.cluster_id]
    session.execute(row.on_conflict_do_update(index_elements=keys, set_={"priority": priority}))


def given(session: Session) -> list[tuple[str, str, int]]:
    """User, cluster and priority, for all that are not 0."""
    query = (
        select(UserPriority.grid_user, Cluster.name, UserPriority.priority)
        .join(Cluster, Cluster.id == UserPriority.cluster_id)
        .where(Cluster.removed_at.is_(None))
        .order_by(UserPriority.grid_user, Cluster.name)
    )
    return [(row[0], row[1], row[2]) for row in session.execute(query)]
