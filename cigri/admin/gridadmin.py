"""gridadmin: the administrator's command. It works on the database, so only who may read its password can use it."""

from __future__ import annotations

import click

from cigri import __version__, logs
from cigri.admin.admission import admission
from cigri.admin.cigri3.command import import_cigri3
from cigri.admin.cluster import cluster
from cigri.admin.database import db
from cigri.admin.grid import Commands, Grid
from cigri.admin.key import key
from cigri.admin.maintenance import maintenance
from cigri.admin.priority import priority
from cigri.admin.user import user


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gridadmin")
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    help="The daemons' configuration (else $CIGRICONFFILE, else /etc/cigri/cigri.conf).",
)
@click.option("-v", "--verbose", is_flag=True, help="Show each request that is made.")
@click.pass_context
def gridadmin(context: click.Context, config_file: str | None, verbose: bool) -> None:
    """Administer a grid: its database and its clusters."""
    context.obj = Grid(config_file)
    if verbose:
        logs.configure("DEBUG", "STDERR")


gridadmin.add_command(db)
gridadmin.add_command(cluster)
user.add_command(priority)
gridadmin.add_command(user)
gridadmin.add_command(key)
gridadmin.add_command(maintenance)
gridadmin.add_command(admission)
gridadmin.add_command(import_cigri3)
