"""Who this grid is, and whether its database is the one that the daemons knew."""

from __future__ import annotations

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from cigri.db.tables import ClusterStatus, Grid

# The timeline that is written now: the control file has the new one only after a checkpoint.
_CONTROL = text(
    "SELECT system_identifier,"
    " CAST(CAST('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS bit(32)) AS integer) AS timeline_id"
    " FROM pg_control_system()"
)


def grid_id(session: Session) -> str:
    """The 8 hexadecimal digits that are in the name of each of this grid's submissions."""
    return session.execute(select(Grid.id)).scalar_one()


def replaced(session: Session) -> bool:
    """Whether the database was restored on another server, or promoted, since the grid was set up.

    Jobs may then be on the clusters that it does not know: nothing is submitted until `recovered`.
    """
    known = session.execute(select(Grid.system_identifier, Grid.timeline)).one()
    return tuple(known) != tuple(session.execute(_CONTROL).one())


def held(session: Session, cluster_id: int) -> bool:
    """Whether nothing may be submitted to the cluster: see `replaced` and `unswept`."""
    return replaced(session) or unswept(session, cluster_id)


def unswept(session: Session, cluster_id: int) -> bool:
    """Whether the database was recovered and the cluster has not been swept since."""
    recovered_at = session.execute(select(Grid.recovered_at)).scalar_one()
    if recovered_at is None:
        return False
    swept_at = session.scalar(select(ClusterStatus.swept_at).where(ClusterStatus.cluster_id == cluster_id))
    return swept_at is None or swept_at < recovered_at


def recovered(session: Session) -> None:
    """The database was restored or promoted: numbers that may have been given out before are skipped, every
    cluster is to be swept before it gets jobs again.
    """
    for sequence, gap in _GAPS.items():
        session.execute(
            text("SELECT setval(CAST(:sequence AS regclass), nextval(CAST(:sequence AS regclass)) + :gap)"),
            {"sequence": sequence, "gap": gap},
        )
    control = session.execute(_CONTROL).one()
    session.execute(
        update(Grid).values(
            system_identifier=control.system_identifier, timeline=control.timeline_id, recovered_at=func.now()
        )
    )


# More than any grid gives out between a backup and its restoration.
_GAPS = {
    "campaigns_id_seq": 10_000,
    "tasks_id_seq": 100_000_000,
    "jobs_id_seq": 100_000_000,
    "submissions_id_seq": 10_000_000,
    "events_id_seq": 10_000_000,
}
