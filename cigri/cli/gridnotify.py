"""gridnotify: where and of what one is told."""

from __future__ import annotations

import sys
from typing import Any

import click

from cigri.cli import options, output, printing, secret
from cigri.cli.command import connect, grid_command, on_terminal
from cigri.client import Client


@grid_command("gridnotify")
@click.option("-l", "--list", "listing", is_flag=True, help="List your subscriptions.")
@click.option("-m", "--mail", metavar="ADDRESS", help="Be told by mail.")
@click.option("-j", "--jabber", metavar="IDENTITY", help="Be told by XMPP (jabber).")
@click.option("-w", "--webhook", metavar="URL", help="Be told in a channel of Slack or Mattermost; `-` reads the URL.")
@click.option(
    "-s",
    "--severity",
    type=click.Choice(["low", "medium", "high"], case_sensitive=False),
    help="Only of events at least so grave. high: ends of campaigns, failures, blacklists; medium: what passes by"
    " itself, too; low (when not given): new campaigns, too.",
)
@click.option("-u", "--unsubscribe", is_flag=True, help="End the subscription instead.")
@options.verbose
@options.dump
@options.pretty
def gridnotify(
    listing: bool,
    mail: str | None,
    jabber: str | None,
    webhook: str | None,
    severity: str | None,
    unsubscribe: bool,
    verbose: bool,
    dump: bool,
    pretty: bool,
) -> None:
    """Be told of what happens to your campaigns.

    Subscribing again with another severity changes it. root's subscriptions hear of the clusters and the grid.
    """
    given = {"mail": mail, "jabber": jabber, "webhook": secret.given(webhook, "URL of the webhook")}
    chosen = [(channel, identity) for channel, identity in given.items() if identity is not None]
    if not chosen and (unsubscribe or severity):
        raise click.UsageError("which subscription? Give it with --mail, --jabber or --webhook")
    if not chosen and not listing and not dump:
        raise click.UsageError(
            "what is to be done? gridnotify -l lists your subscriptions, gridnotify -m ADDRESS adds one"
        )
    if unsubscribe and severity:
        raise click.UsageError("--unsubscribe ends a subscription whatever its severity is")
    client = connect(verbose=verbose)
    for channel, identity in chosen:
        click.echo(_change(client, channel, identity, severity, unsubscribe=unsubscribe))
    if dump:
        for piece in client.body("/notifications", pretty="true" if pretty else None):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    elif listing:
        _list(client.get("/notifications")["items"])


def _change(client: Client, channel: str, identity: str, severity: str | None, *, unsubscribe: bool) -> str:
    path = f"/notifications/{channel}"
    if unsubscribe:
        return f"{client.delete(path, identity=identity)['message']}."
    return f"{client.post(path, {'identity': identity, 'severity': severity or 'low'})['message']}."


def _list(items: list[Any]) -> None:
    on_screen = on_terminal()
    if not items:
        click.echo("No subscriptions: gridnotify -m ADDRESS adds one.", err=not on_screen)
    elif on_screen:
        printing.write(f"{one['type']}: {one['identity']} (severity: {one['severity']})" for one in items)
    else:
        printing.write(output.subscriptions(items))


if __name__ == "__main__":
    gridnotify()
