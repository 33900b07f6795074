"""gridadmin user priority: whose campaigns come first."""

from __future__ import annotations

import click

from cigri.admin.grid import Grid, known_cluster


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("grid_login", required=False)
@click.argument("cluster", required=False)
@click.argument("value", required=False, type=click.IntRange(-4, 4))
@click.pass_obj
def priority(grid: Grid, grid_login: str | None, cluster: str | None, value: int | None) -> None:
    """Give GRID_LOGIN the priority VALUE (-4 to 4) on CLUSTER; without arguments: list them.

    A user's share of a cluster is 2 to the power of the priority: who has 1 gets twice as much as who has 0. Nobody
    is left out.
    """
    from cigri.db import priorities
    from cigri.db.engine import notify

    if grid_login is None:
        with grid.transaction() as session:
            found = priorities.given(session)
        for who, where, number in found:
            click.echo(f"{who} on {where}: {number}")
        if not found:
            click.echo("all users have priority 0 on all clusters")
        return
    if cluster is None or value is None or not grid_login.strip():
        raise click.UsageError("give a user, a cluster and a priority from -4 to 4")
    with grid.transaction() as session:
        priorities.give(session, grid_login, known_cluster(session, cluster).id, value)
        notify(session, "campaigns")
    click.echo(f"{grid_login} has priority {value} on {cluster}")
