"""gridtoken: the tokens with which the grid acts for you on clusters, and those with which you reach it over TCP."""

from __future__ import annotations

import sys
from typing import Any

import click

from cigri.cli import options, output, printing, secret
from cigri.cli.command import connect, grid_command, on_terminal
from cigri.client import Client


@grid_command("gridtoken")
@click.argument("identifier", metavar="[ID]", required=False, type=options.identifier)
@click.option("-l", "--list", "listing", is_flag=True, help="List your tokens and when they expire.")
@click.option("-i", "--cluster-id", type=options.identifier, metavar="N", help="The cluster, see gridclusters.")
@click.option(
    "-t",
    "--token",
    metavar="TOKEN",
    help="Store the token that the cluster gave you (oarsub -T); `-` reads it from the terminal or a pipe.",
)
@click.option(
    "-r", "--remove", is_flag=True, help="Remove the token for a cluster (-i), or a personal one (--api -r ID)."
)
@click.option("--api", is_flag=True, help="Make a personal token for the grid's API over TCP; it is shown once.")
@click.option("--days", type=click.IntRange(1, 366), metavar="N", help="With --api: valid so long [90].")
@options.verbose
@options.dump
@options.pretty
def gridtoken(
    identifier: str | None,
    listing: bool,
    cluster_id: str | None,
    token: str | None,
    remove: bool,
    api: bool,
    days: int | None,
    verbose: bool,
    dump: bool,
    pretty: bool,
) -> None:
    """Keep the tokens with which the grid submits your jobs to clusters that ask for one.

    They are encrypted, renewed where the cluster renews them, and never shown again. root's token for a cluster is
    the one of the cluster's user oar: it only lists jobs.
    """
    token = secret.given(token, "Token")
    _check(identifier, listing or dump, cluster_id, token, remove=remove, api=api, days=days)
    client = connect(verbose=verbose)
    if dump:
        _dump(client, "/api_tokens" if api else "/tokens", pretty=pretty)
    elif listing:
        _list(client, api=api)
    elif api:
        _personal(client, identifier, days, remove=remove)
    elif remove:
        click.echo(f"{client.delete(f'/tokens/{cluster_id}')['message']}.")
    else:
        body = {"cluster_id": int(cluster_id or 0), "token": token}
        click.echo(f"{client.post('/tokens', body)['message']}.")


def _check(
    identifier: str | None,
    listing: bool,
    cluster_id: str | None,
    token: str | None,
    *,
    remove: bool,
    api: bool,
    days: int | None,
) -> None:
    """Refuse what does not go together."""
    if days is not None and (not api or remove or listing):
        raise click.UsageError("--days is for a new personal token: gridtoken --api --days N")
    if listing and (cluster_id or token or remove or identifier):
        raise click.UsageError("--list stands alone, or with --api")
    if api:
        if cluster_id or token:
            raise click.UsageError("--api is about your personal tokens: -i and -t are for those of clusters")
        if remove != (identifier is not None):
            raise click.UsageError("a personal token is revoked with gridtoken --api -r ID")
        return
    if identifier is not None:
        raise click.UsageError("which token? gridtoken -i N -t TOKEN, or gridtoken --api -r ID")
    if listing:
        return
    if (token is None) == (not remove):
        raise click.UsageError("what is to be done? gridtoken -l, gridtoken -i N -t TOKEN, gridtoken -i N -r")
    if cluster_id is None:
        raise click.UsageError("for which cluster? Give its number with -i: gridclusters shows it")


def _dump(client: Client, path: str, *, pretty: bool) -> None:
    for piece in client.body(path, pretty="true" if pretty else None):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _list(client: Client, *, api: bool) -> None:
    items = client.get("/api_tokens" if api else "/tokens")["items"]
    on_screen = on_terminal()
    if not items:
        what = "personal tokens: gridtoken --api makes" if api else "tokens: gridtoken -i N -t TOKEN adds"
        click.echo(f"No {what} one.", err=not on_screen)
    elif api:
        printing.write(map(_personal_line, items))
    else:
        printing.write(map(_line, items) if on_screen else output.tokens(items))


def _line(one: Any) -> str:
    return f"{one['cluster_id']} {one['cluster_name']}: {one['cluster_login']} of {one['login']}, {output.expiry(one)}"


def _personal_line(one: Any) -> str:
    used = f"last used {output.moment(one['last_used_at'])}" if one["last_used_at"] else "not used lately"
    made, ends = output.moment(one["created_at"]), output.moment(one["expires_at"])
    return f"{one['id']}: made {made}, expires {ends}, {used}"


def _personal(client: Client, identifier: str | None, days: int | None, *, remove: bool) -> None:
    if remove:
        click.echo(f"{client.delete(f'/api_tokens/{identifier}')['message']}.")
        return
    made = client.post("/api_tokens", {} if days is None else {"days": days})
    click.echo(
        f"Personal token {made['id']}, valid until {output.moment(made['expires_at'])}; it is not shown again. Keep it"
        " in a file of mode 0600 (API_TOKEN_FILE, ~/.config/cigri/token) where the commands reach the grid over TCP.",
        err=True,
    )
    click.echo(made["token"])


if __name__ == "__main__":
    gridtoken()
