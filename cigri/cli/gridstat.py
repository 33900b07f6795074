"""gridstat: how campaigns and jobs are."""

from __future__ import annotations

import click

from cigri.cli import following, options, output, printing
from cigri.cli.command import connect, grid_command, on_terminal
from cigri.client import Client

UNFINISHED = ("in_treatment", "paused")
PAGES = 11  # pages of tasks that --full prints at most


@grid_command("gridstat")
@click.argument("identifier", metavar="[CAMPAIGN_ID]", type=options.identifier, required=False)
@click.option("-c", "--campaign", type=options.identifier, metavar="ID", help="Only this campaign, in detail.")
@click.option("-f", "--full", is_flag=True, help="Its tasks, too.")
@click.option("-o", "--offset", type=click.IntRange(0), metavar="N", help="Begin at this task (with --full).")
@click.option("-e", "--events", is_flag=True, help="Its open events.")
@click.option("-J", "--jdl", is_flag=True, help="Its expanded JDL, as JSON.")
@click.option("-j", "--job", type=options.identifier, metavar="ID", help="A job instead of a campaign.")
@click.option("-O", "--stdout", "stream", flag_value="stdout", help="What the job wrote to its standard output.")
@click.option("-E", "--stderr", "stream", flag_value="stderr", help="What the job wrote to its standard error.")
@click.option("-C", "--cinfos", is_flag=True, help="What the cluster's batch scheduler knows of the job, as JSON.")
@click.option("--watch", is_flag=True, help="Show it again every 2 seconds, until Ctrl-C or the campaign's end.")
@options.dump
@options.pretty
@click.option("-H", "--headerless", is_flag=True, help="No titles of columns.")
@click.option("-u", "--username", metavar="NAME", help="In the list, only campaigns of this user.")
def gridstat(
    identifier: str | None,
    campaign: str | None,
    full: bool,
    offset: int | None,
    events: bool,
    jdl: bool,
    job: str | None,
    stream: str | None,
    cinfos: bool,
    watch: bool,
    dump: bool,
    pretty: bool,
    headerless: bool,
    username: str | None,
) -> None:
    """Show the campaigns that have not ended, or one campaign, or one job.

    State letters: R in treatment, P paused, C cancelled, T terminated; then e if there are open events.
    """
    if campaign and identifier and campaign != identifier:
        raise click.UsageError(f"two campaigns are given: {campaign} and {identifier}")
    campaign = campaign or identifier
    if username is not None and (campaign or job):
        raise click.UsageError("--username is for the list of campaigns: one campaign or job has its user")
    _check(campaign, job, full=full, offset=offset, events=events, jdl=jdl, stream=stream, cinfos=cinfos)
    if watch:
        _check_watch(job or jdl or dump or events)
    client = connect()
    if watch:
        _watch(client, campaign, username, header=not headerless, full=full, offset=offset or 0)
    elif job and cinfos:
        printing.copy(client.body(f"/jobs/{job}/cinfos", pretty="true"))
    elif job:
        _job(client, job, stream, dump=dump, pretty=pretty)
    elif campaign is None:
        _list(client, username, header=not headerless, dump=dump, pretty=pretty)
    elif jdl or dump:
        part = "/jdl" if jdl else "/events" if events else "/jobs" if full else ""
        page = {"offset": offset} if part == "/jobs" else {}
        printing.copy(client.body(f"/campaigns/{campaign}{part}", **page, pretty="true" if pretty or jdl else None))
    elif events:
        _events(client, campaign)
    else:
        _campaign(client, campaign, full=full, offset=offset or 0)


def _check(
    campaign: str | None,
    job: str | None,
    *,
    full: bool,
    offset: int | None,
    events: bool,
    jdl: bool,
    stream: str | None,
    cinfos: bool,
) -> None:
    """Refuse options that do not go together."""
    for given, option in ((full, "--full"), (events, "--events"), (jdl, "--jdl")):
        if given and (job or not campaign):
            raise click.UsageError(f"{option} needs a campaign: gridstat -c ID {option}")
    if job and campaign:
        raise click.UsageError("give a campaign or a job, not both")
    if stream and not job:
        raise click.UsageError(f"--{stream} needs a job: gridstat -j ID --{stream}")
    if cinfos and (stream or not job):
        raise click.UsageError("--cinfos needs a job and stands alone: gridstat -j ID --cinfos")
    if offset is not None and not full:
        raise click.UsageError("--offset is for --full")
    if full + events + jdl > 1:
        raise click.UsageError("--full, --events and --jdl: one at a time")


def _check_watch(other: object) -> None:
    if other:
        raise click.UsageError("--watch is for the list and for one campaign")
    if not on_terminal():
        raise click.UsageError("--watch is for terminals: this output is piped")


def _watch(
    client: Client, campaign: str | None, username: str | None, *, header: bool, full: bool, offset: int
) -> None:
    def draw() -> bool:
        if campaign is None:
            _list(client, username, header=header, dump=False, pretty=False)
            return True
        return _campaign(client, campaign, full=full, offset=offset) in UNFINISHED

    following.watch(draw)


def _list(client: Client, username: str | None, *, header: bool, dump: bool, pretty: bool) -> None:
    if dump and username is None:
        printing.copy(client.body("/campaigns", pretty="true" if pretty else None))
        return
    found = client.get("/campaigns")
    kept = [one for one in found["items"] if username in (None, one["user"])]
    if dump:
        chosen = found | {"items": kept, "total": len(kept)}
        click.echo(printing.as_json(chosen, pretty=pretty))
    elif on_terminal():
        from cigri.cli import terminal

        terminal.campaigns(kept, header=header)
    else:
        if header:
            click.echo(output.HEADING)
        printing.write(output.campaign_line(one) for one in sorted(kept, key=lambda one: one["id"]))


def _campaign(client: Client, campaign: str, *, full: bool, offset: int) -> str:
    """Show it; its state."""
    found = client.get(f"/campaigns/{campaign}")
    stats = client.get(f"/campaigns/{campaign}/stats")
    if on_terminal():
        from cigri.cli import terminal

        terminal.campaign(found, stats)
    else:
        click.echo(output.campaign(found, stats))
    if full:
        click.echo(" Jobs:")
        _tasks(client, campaign, offset)
    return str(found["state"])


def _tasks(client: Client, campaign: str, offset: int) -> None:
    """Some pages of tasks, and where the next one begins if there is one."""
    for _ in range(PAGES):
        page = client.get(f"/campaigns/{campaign}/jobs", offset=offset)
        printing.write(output.task_line(task) for task in page["items"])
        offset += page["limit"]
        if offset >= page["total"]:
            return
    click.echo(f"WARNING: more jobs left. Next jobs with --offset={offset}")


def _events(client: Client, campaign: str) -> None:
    found = printing.all_events(client, f"/campaigns/{campaign}/events")
    if on_terminal():
        from cigri.cli import terminal

        terminal.events(found)
    else:
        printing.write(output.event_lines(found))


def _job(client: Client, job: str, stream: str | None, *, dump: bool, pretty: bool) -> None:
    path = f"/jobs/{job}/{stream}" if stream else f"/jobs/{job}"
    if dump:
        printing.copy(client.body(path, pretty="true" if pretty else None))
    elif stream:
        written = client.get(path)["output"]
        click.echo(written, nl=not written.endswith("\n"))
    else:
        printing.write(output.facts(client.get(path)))


if __name__ == "__main__":
    gridstat()
