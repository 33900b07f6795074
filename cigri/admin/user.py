"""gridadmin user: who grid users are on the clusters."""

from __future__ import annotations

import click

from cigri.admin.grid import Failure, Grid, known_cluster


@click.group()
def user() -> None:
    """The grid's users on the clusters."""


@user.command("map")
@click.argument("grid_login")
@click.argument("cluster")
@click.argument("cluster_login", required=False)
@click.option("--remove", is_flag=True, help="Let the name be the same there again.")
@click.pass_obj
def map_(grid: Grid, grid_login: str, cluster: str, cluster_login: str | None, remove: bool) -> None:
    """Say that GRID_LOGIN is CLUSTER_LOGIN on CLUSTER; without a mapping the name is the same."""
    from cigri.db import mappings

    if remove == (cluster_login is not None):
        raise click.UsageError("give the name on the cluster, or --remove")
    if cluster_login is not None and not (cluster_login.isascii() and cluster_login.isprintable()):
        raise click.BadParameter("plain ASCII characters only", param_hint="CLUSTER_LOGIN")
    if not grid_login.strip() or (cluster_login is not None and not cluster_login.strip()):
        raise click.UsageError("a name is empty")
    with grid.transaction() as session:
        found = known_cluster(session, cluster)
        if cluster_login is None:
            if not mappings.unmap_login(session, grid_login, found.id):
                raise Failure(f"{grid_login} has no other name on {cluster}")
            click.echo(f"{grid_login} is {grid_login} on {cluster} again")
            return
        mappings.map_login(session, grid_login, found.id, cluster_login)
        own = mappings.login_of(session, grid_login, found.id)
    click.echo(f"{grid_login} is {cluster_login} on {cluster}; jobs that are there already keep their user")
    if own != cluster_login:
        click.echo(
            f"gridadmin: the token that {grid_login} stored for {cluster} is one of {own}: that counts", err=True
        )


@user.command("list")
@click.pass_obj
def list_(grid: Grid) -> None:
    """List the mappings, and whose tokens are there; not the tokens."""
    from cigri.db import mappings

    with grid.transaction() as session:
        found = mappings.everybody(session)
    for one in found:
        mapping = one.mapping
        words = [f"{mapping.grid_login} on {one.cluster_name}: {mapping.cluster_login or mapping.grid_login}"]
        if mapping.token is not None:
            until = "for ever" if mapping.expires_at is None else f"until {mapping.expires_at:%Y-%m-%d %H:%M} UTC"
            words.append(f"token of {mapping.token_login or 'nobody in particular'}, valid {until}")
        click.echo(", ".join(words))
    if not found:
        click.echo("no mapping yet: users have the same names on all clusters")
