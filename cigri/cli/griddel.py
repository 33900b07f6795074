"""griddel: end, pause, resume or purge campaigns; end a job."""

from __future__ import annotations

import sys

import click

from cigri.cli import options
from cigri.cli.command import connect, each, grid_command
from cigri.client import Client


@grid_command("griddel")
@click.argument("identifiers", metavar="[ID]...", nargs=-1, type=options.identifiers)
@click.option(
    "-c",
    "--campaign_ids",
    multiple=True,
    type=options.identifiers,
    metavar="ID1,ID2",
    help="Campaigns on which to act.",
)
@click.option("-p", "--pause", "action", flag_value="pause", help="No new jobs; running ones go on.")
@click.option("-r", "--resume", "action", flag_value="resume", help="Let paused campaigns go on.")
@click.option("--purge", "action", flag_value="purge", help="Drop the tasks and jobs of campaigns that have ended.")
@click.option(
    "-j", "--job", multiple=True, type=options.identifier, metavar="ID", help="End a job; its task is set aside."
)
@click.option("-v", "--verbose", is_flag=True, help="Say what is left of each campaign, too.")
def griddel(
    identifiers: tuple[list[str], ...],
    campaign_ids: tuple[list[str], ...],
    action: str | None,
    job: tuple[str, ...],
    verbose: bool,
) -> None:
    """Cancel campaigns, for ever: what waits is dropped, what runs is ended. Or pause, resume or purge them."""
    campaigns = [one for some in (*campaign_ids, *identifiers) for one in some]
    if not campaigns and not job:
        raise click.UsageError("which campaign? griddel ID, or griddel -j JOB for a single job")
    if job and (action or campaigns):
        raise click.UsageError("--job stands alone: it ends single jobs")
    verb = action or "cancel"
    client = connect()
    if job:
        code = each(job, lambda one: _sentence(client.delete(f"/jobs/{one}")["message"]), "cancel job")
    else:
        code = each(campaigns, lambda one: _act(client, one, action, verbose=verbose), f"{verb} campaign")
    sys.exit(code)


def _act(client: Client, campaign: str, action: str | None, *, verbose: bool) -> str:
    query = {"pause": {"hold": "1"}, "resume": {"resume": "1"}, "purge": {"purge": "1"}, None: {}}[action]
    told = _sentence(client.delete(f"/campaigns/{campaign}", **query)["message"])
    if not verbose:
        return told
    counts = client.get(f"/campaigns/{campaign}")["tasks"]
    return f"{told}\n  Tasks: {', '.join(f'{count} {state}' for state, count in counts.items())}"


def _sentence(message: str) -> str:
    return f"{message.rstrip('.')}."


if __name__ == "__main__":
    griddel()
