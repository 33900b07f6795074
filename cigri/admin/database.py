"""gridadmin db: the schema of the grid's database."""

from __future__ import annotations

import click

from cigri.admin.grid import Failure, Grid, database_errors
from cigri.errors import SchemaMismatch


@click.group()
def db() -> None:
    """The grid's database."""


@db.command()
@click.option(
    "--first-campaign",
    type=click.IntRange(min=1),
    metavar="ID",
    help="Number of the first campaign, to go on after another grid's.",
)
@click.pass_obj
def init(grid: Grid, first_campaign: int | None) -> None:
    """Load the schema into an empty database (createdb and a role come first)."""
    from cigri.db.migrate import migrate, require_current

    with database_errors(grid.settings):
        if _has_schema(grid):
            require_current(grid.conninfo)
            click.echo(f"database {grid.settings.database_name}: the schema is there already, nothing done")
            return
        applied = migrate(grid.conninfo, first_campaign=first_campaign)
    click.echo(f"database {grid.settings.database_name}: schema loaded ({', '.join(applied)})")


@db.command()
@click.pass_obj
def migrate(grid: Grid) -> None:
    """Bring the schema to this version of the program. Stop the daemons first."""
    from cigri.db.migrate import migrate as apply

    with database_errors(grid.settings):
        if not _has_schema(grid):
            raise SchemaMismatch("the database has no CiGri schema: run `gridadmin db init`")
        applied = apply(grid.conninfo)
    done = f"applied {', '.join(applied)}" if applied else "up to date, nothing to apply"
    click.echo(f"database {grid.settings.database_name}: {done}")


@db.command()
@click.option("--archive", is_flag=True, help="Count what is archived, too: it takes minutes where that is much.")
@click.pass_obj
def check(grid: Grid, archive: bool) -> None:
    """See whether the books balance: every task counted once, no job without its task."""
    from cigri.db.check import faults

    with grid.transaction() as session:
        found = faults(session, archive=archive)
    for fault in found:
        click.echo(fault, err=True)
    if found:
        raise Failure(f"database {grid.settings.database_name}: {len(found)} fault{'' if len(found) == 1 else 's'}")
    click.echo(f"database {grid.settings.database_name}: the books balance")


@db.command()
@click.pass_obj
def recovered(grid: Grid) -> None:
    """Say that the database was restored from a backup or promoted, and may be used again.

    Numbers that may have been given out after the backup are skipped; each cluster gets jobs again when nikita
    has swept it, deleting the jobs of this grid that the database does not know.
    """
    from cigri.db import grid as identity
    from cigri.db.engine import notify

    with grid.transaction() as session:
        identity.recovered(session)
        notify(session, "clusters")
    click.echo(f"database {grid.settings.database_name}: recovered; clusters are used again once they are swept")


def _has_schema(grid: Grid) -> bool:
    import psycopg

    with psycopg.connect(grid.conninfo) as connection:
        row = connection.execute("SELECT to_regclass('clusters')").fetchone()
    return row is not None and row[0] is not None
