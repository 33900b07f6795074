"""gridevents: what went wrong, what waits for whom; and closing it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from cigri.cli import following, options, output, printing
from cigri.cli.command import connect, grid_command, on_terminal
from cigri.client import Client

DISABLED = "Cluster {} disabled by the administrator of the grid. Please, be patient."


@grid_command("gridevents")
@click.argument("identifier", metavar="[CAMPAIGN_ID]", type=options.identifier, required=False)
@click.option("-c", "--campaign", type=options.identifier, metavar="ID", help="The open events of this campaign.")
@click.option("-e", "--event", type=options.identifier, metavar="ID", help="Only this event.")
@click.option("-g", "--global", "of_grid", is_flag=True, help="Open events that belong to no campaign.")
@click.option("-a", "--all", "closed_too", is_flag=True, help="Those that are closed, too (no global ones).")
@click.option("-f", "--fix", is_flag=True, help="Close the event (-e), or all of the campaign.")
@click.option("-r", "--resubmit", is_flag=True, help="With -f: the tasks that they set aside are tried again.")
@click.option("--follow", is_flag=True, help="Then print new events as they come, until Ctrl-C.")
@click.option(
    "--blacklist-cluster",
    type=options.identifier,
    metavar="ID",
    help="Administrators: no new jobs on the cluster until the event is closed.",
)
@click.option(
    "--mark-job-event", type=options.identifier, metavar="ID", help="Administrators: end a job, set its task aside."
)
@click.option("-v", "--verbose", is_flag=True, help="Say of each event how often, and what it waits for.")
@options.dump
@options.pretty
def gridevents(
    identifier: str | None,
    campaign: str | None,
    event: str | None,
    of_grid: bool,
    closed_too: bool,
    fix: bool,
    resubmit: bool,
    follow: bool,
    blacklist_cluster: str | None,
    mark_job_event: str | None,
    verbose: bool,
    dump: bool,
    pretty: bool,
) -> None:
    """Show the events of a campaign, a single one or those of the grid; close them.

    A blacklist keeps a cluster, or a campaign on a cluster, from getting jobs. It goes when its cause is closed.
    """
    if campaign and identifier and campaign != identifier:
        raise click.UsageError(f"two campaigns are given: {campaign} and {identifier}")
    campaign = campaign or identifier
    chosen = [one for one in (campaign, event, of_grid, blacklist_cluster, mark_job_event) if one]
    _check(len(chosen), campaign, event, fix=fix, resubmit=resubmit, follow=follow, closed_too=closed_too)
    path = f"/campaigns/{campaign}/events" if campaign else f"/events/{event}" if event else "/events"
    query = {"all": "1"} if closed_too else {}
    client = connect()
    if blacklist_cluster or mark_job_event:
        click.echo(_create(client, blacklist_cluster, mark_job_event))
    elif fix:
        click.echo(_sentence(client.delete(path, resubmit="1" if resubmit else None)["message"]))
    elif follow:
        following.follow(client, path, query, dump=dump, verbose=verbose)
    elif dump:
        printing.copy(client.body(path, **query, pretty="true" if pretty else None))
    else:
        found = iter([client.get(path)]) if event else printing.all_events(client, path, **query)
        _show(found, verbose=verbose)


def _check(
    chosen: int,
    campaign: str | None,
    event: str | None,
    *,
    fix: bool,
    resubmit: bool,
    follow: bool,
    closed_too: bool,
) -> None:
    """Refuse options that do not go together."""
    if not chosen:
        raise click.UsageError("which events? gridevents CAMPAIGN_ID, -e EVENT_ID for one, -g for those of the grid")
    if chosen > 1:
        raise click.UsageError("a campaign, an event, --global, --blacklist-cluster, --mark-job-event: one at a time")
    if resubmit and not fix:
        raise click.UsageError("--resubmit must be used with --fix")
    if fix and not (campaign or event):
        raise click.UsageError("--fix needs a campaign (-c ID) or an event (-e ID)")
    if closed_too and (fix or not campaign):
        raise click.UsageError("--all is for the list of a campaign's events")
    if follow and (fix or event):
        raise click.UsageError("--follow is for the events of a campaign or of the grid (--global)")


def _create(client: Client, cluster: str | None, job: str | None) -> str:
    if cluster:
        message = DISABLED.format(cluster)
        asked = {
            "class": "cluster",
            "cluster_id": int(cluster),
            "message": message,
            "code": "CLUSTER_MANUALLY_DISABLED",
        }
    else:
        asked = {"class": "job", "job_id": int(job or 0), "code": "MANUAL_EVENT"}
    return _sentence(client.post("/events", asked)["message"])


def _show(found: Iterator[Any], *, verbose: bool) -> None:
    if on_terminal():
        from cigri.cli import terminal

        terminal.events(found)
    else:
        printing.write(output.event_lines(found, verbose=verbose))
    sys.stdout.flush()


def _sentence(message: str) -> str:
    return f"{message.rstrip('.')}."


if __name__ == "__main__":
    gridevents()
