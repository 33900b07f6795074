"""gridstat: how campaigns and jobs are."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from cigri.cli import options, output
from cigri.cli.command import connect, grid_command, on_terminal
from cigri.client import Client

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
@options.dump
@options.pretty
@click.option("-H", "--headerless", is_flag=True, help="No titles of columns.")
@click.option("-u", "--username", metavar="NAME", help="Only campaigns of this user.")
def gridstat(
    identifier: str | None,
    campaign: str | None,
    full: bool,
    offset: int | None,
    events: bool,
    jdl: bool,
    job: str | None,
    stream: str | None,
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
    _check(campaign, job, full=full, offset=offset, events=events, jdl=jdl, stream=stream)
    client = connect()
    if job:
        _job(client, job, stream, dump=dump, pretty=pretty)
    elif campaign is None:
        _list(client, username, header=not headerless, dump=dump, pretty=pretty)
    elif jdl or dump:
        part = "/jdl" if jdl else "/events" if events else "/jobs" if full else ""
        page = {"offset": offset} if part == "/jobs" else {}
        _copy(client.body(f"/campaigns/{campaign}{part}", **page, pretty="true" if pretty or jdl else None))
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
) -> None:
    """Refuse options that do not go together."""
    for given, option in ((full, "--full"), (events, "--events"), (jdl, "--jdl")):
        if given and (job or not campaign):
            raise click.UsageError(f"{option} needs a campaign: gridstat -c ID {option}")
    if job and campaign:
        raise click.UsageError("give a campaign or a job, not both")
    if stream and not job:
        raise click.UsageError(f"--{stream} needs a job: gridstat -j ID --{stream}")
    if offset is not None and not full:
        raise click.UsageError("--offset is for --full")
    if full + events + jdl > 1:
        raise click.UsageError("--full, --events and --jdl: one at a time")


def _list(client: Client, username: str | None, *, header: bool, dump: bool, pretty: bool) -> None:
    if dump and username is None:
        _copy(client.body("/campaigns", pretty="true" if pretty else None))
        return
    found = client.get("/campaigns")
    kept = [one for one in found["items"] if username in (None, one["user"])]
    if dump:
        chosen = found | {"items": kept, "total": len(kept)}
        click.echo(json.dumps(chosen, ensure_ascii=False, **_form(pretty=pretty)))
    elif on_terminal():
        from cigri.cli import terminal

        terminal.campaigns(kept, header=header)
    else:
        if header:
            click.echo(output.HEADING)
        _write(output.campaign_line(one) for one in sorted(kept, key=lambda one: one["id"]))


def _form(*, pretty: bool) -> dict[str, Any]:
    return {"indent": 2} if pretty else {"separators": (",", ":")}


def _campaign(client: Client, campaign: str, *, full: bool, offset: int) -> None:
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


def _tasks(client: Client, campaign: str, offset: int) -> None:
    """Some pages of tasks, and where the next one begins if there is one."""
    for _ in range(PAGES):
        page = client.get(f"/campaigns/{campaign}/jobs", offset=offset)
        _write(output.task_line(task) for task in page["items"])
        offset += page["limit"]
        if offset >= page["total"]:
            return
    click.echo(f"WARNING: more jobs left. Next jobs with --offset={offset}")


def _events(client: Client, campaign: str) -> None:
    found = _all_events(client, campaign)
    if on_terminal():
        from cigri.cli import terminal

        terminal.events(found)
    else:
        _write(output.event_lines(found))


def _all_events(client: Client, campaign: str) -> Iterator[Any]:
    offset, total = 0, 1
    while offset < total:
        page = client.get(f"/campaigns/{campaign}/events", offset=offset)
        yield from page["items"]
        offset, total = offset + 100, page["total"]


def _job(client: Client, job: str, stream: str | None, *, dump: bool, pretty: bool) -> None:
    path = f"/jobs/{job}/{stream}" if stream else f"/jobs/{job}"
    if dump:
        _copy(client.body(path, pretty="true" if pretty else None))
    elif stream:
        written = client.get(path)["output"]
        click.echo(written, nl=not written.endswith("\n"))
    else:
        _write(output.facts(client.get(path)))


def _write(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _copy(pieces: Iterable[bytes]) -> None:
    """JSON as the API gave it."""
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    gridstat()
