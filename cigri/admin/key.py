"""gridadmin key: the key that encrypts the clusters' tokens and passwords."""

from __future__ import annotations

import click

from cigri.admin.grid import Grid


@click.group()
def key() -> None:
    """The key that encrypts the clusters' tokens and passwords."""


@key.command()
@click.pass_obj
def create(grid: Grid) -> None:
    """Make the key file TOKEN_KEY_FILE; it must be readable by the grid's account alone. Keep a copy of it."""
    from cigri.core import vault

    path = grid.settings.token_key_file
    vault.create_key_file(path)
    vault.load(path)
    click.echo(f"key file {path} created; daemons and API server must own it: chown cigri {path}")
