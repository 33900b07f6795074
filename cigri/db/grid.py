"""Who this grid is, and whether its database is the one that the daemons knew."""

from __future__ import annotations

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from cigri.db.tables import Grid

_CONTROL = text("SELECT s.system_identifier, c.timeline_id FROM pg_control_system() s, pg_control_checkpoint() c")


def grid_id(session: Session) -> str:
    """The 8 hexadecimal digits that are in the name of each of this grid's submissions."""
    return session.execute(select(Grid.id)).scalar_one()


def replaced(session: Session) -> bool:
    """Whether the database was restored on another server, or promoted, since the grid was set up.

    Jobs may then be on the clusters that it does not know: nothing is submitted until somebody has looked.
    """
    known = session.execute(select(Grid.system_identifier, Grid.timeline)).one()
    return tuple(known) != tuple(session.execute(_CONTROL).one())
