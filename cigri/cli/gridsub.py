"""gridsub: submit campaigns, or add tasks to one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import click

from cigri.cli import options, waiting
from cigri.cli.command import FAILED, connect, failed, grid_command
from cigri.client import ApiRefused, Client, Json
from cigri.core import jdl_tasks, lenient_json
from cigri.errors import CigriError, Fault, InvalidJDL

CODES = (
    "0 done (with --wait: all tasks succeeded); 1 not done, stderr says why; 2 wrong usage; "
    "3 some tasks failed, 4 a campaign was cancelled (both with --wait); 130 interrupted."
)


@grid_command("gridsub", codes=CODES)
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option(
    "-f", "--file", "more_files", multiple=True, metavar="FILE", help="File with a JDL; - for standard input."
)
@click.option("-j", "--json", "texts", multiple=True, metavar="JSON", help="The JDL itself.")
@click.option("-c", "--campaign", type=options.identifier, metavar="ID", help="Add tasks to this campaign.")
@click.option(
    "-F", "--jobfile", "task_files", multiple=True, metavar="FILE", help="File with a JSON array of parameters to add."
)
@click.option("-J", "--jsonjob", "task_texts", multiple=True, metavar="JSON", help="The array of parameters itself.")
@click.option("-d", "--details", is_flag=True, help="Print the API's JSON about the campaign, too.")
@options.pretty
@click.option("--dry-run", is_flag=True, help="Say what would be submitted, and what is wrong with it; submit nothing.")
@click.option("--wait", is_flag=True, help="Wait for the end of all tasks, showing progress.")
def gridsub(
    files: tuple[str, ...],
    more_files: tuple[str, ...],
    texts: tuple[str, ...],
    campaign: str | None,
    task_files: tuple[str, ...],
    task_texts: tuple[str, ...],
    details: bool,
    pretty: bool,
    dry_run: bool,
    wait: bool,
) -> None:
    """Submit the campaigns that JDL files describe, or add tasks to a campaign.

    A param_file is read here, as you, while it is sent.
    """
    jdls = [(name, partial(_read, name)) for name in (*more_files, *files)]
    jdls += [("--json", partial(str, text)) for text in texts]
    tasks = [(name, partial(_read, name)) for name in task_files]
    tasks += [("--jsonjob", partial(str, text)) for text in task_texts]
    _check(jdls, tasks, campaign, dry_run=dry_run, wait=wait)
    submitted: list[str] = []
    code = 0
    client = connect()
    sender = Sender(client, details=details, pretty=pretty)
    for name, text in jdls:
        code |= sender.attempt(name, partial(sender.submit, text, dry_run=dry_run), submitted)
    for name, text in tasks:
        code |= sender.attempt(name, partial(sender.add, str(campaign), text), submitted)
    if wait:
        code = waiting.wait(client, list(dict.fromkeys(submitted))) or code
    sys.exit(code)


Text = Callable[[], str]


def _check(
    jdls: Sequence[tuple[str, Text]],
    tasks: Sequence[tuple[str, Text]],
    campaign: str | None,
    *,
    dry_run: bool,
    wait: bool,
) -> None:
    """Refuse options that do not go together."""
    if tasks and campaign is None:
        raise click.UsageError("-F and -J add tasks to a campaign: say which with -c ID")
    if campaign is not None and not tasks:
        raise click.UsageError("-c adds tasks to a campaign: give them with -F FILE or -J JSON")
    if not jdls and not tasks:
        raise click.UsageError("what? gridsub -f FILE for a JDL, or -c ID with -F or -J to add tasks to a campaign")
    if jdls and tasks:
        raise click.UsageError("either submit campaigns (-f, -j) or add tasks to one (-c with -F, -J)")
    if dry_run and tasks:
        raise click.UsageError("--dry-run is for campaigns (-f, -j)")
    if dry_run and wait:
        raise click.UsageError("--dry-run submits nothing that --wait could wait for")


def _read(name: str) -> str:
    """A file, or standard input."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else _content(name)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CigriError(f"not UTF-8 text: see byte {error.start}") from None
    except OSError as error:
        raise CigriError(f"cannot be read: {error.strerror}") from None


def _content(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read()


class Sender:
    """Sends campaigns and tells what became of them."""

    def __init__(self, client: Client, *, details: bool, pretty: bool) -> None:
        self._client = client
        self._details = details
        self._pretty = pretty

    def attempt(self, name: str, act: Callable[[], str | None], submitted: list[str]) -> int:
        """Do it for one file; its exit code. Others are still tried when one is refused."""
        try:
            campaign = act()
        except (InvalidJDL, ApiRefused) as error:
            return _told(name, error)
        except CigriError as error:
            if type(error) is CigriError:  # about the file
                return failed(f"{name}: {error}")
            raise
        if campaign is not None:
            submitted.append(campaign)
        return 0

    def submit(self, source: Text, *, dry_run: bool) -> str | None:
        """Submit a campaign; its id, None if it was only looked at."""
        text = source()
        raw, warnings = lenient_json.loads(text)
        _warn(warnings)
        if isinstance(raw, Mapping) and not jdl_tasks.source_faults(raw):
            found = self._stream(raw, dry_run=dry_run)
        else:
            found = self._client.submit_text(text, dry_run=dry_run)
        _warn(found["warnings"])
        for cluster, walltime in found["walltimes"].items():
            click.echo(f"Walltime on {cluster}: {walltime}", err=True)
        if dry_run:
            click.echo(f"{found['message']}.")
            self._show(found)
            return None
        click.echo("Campaign successfully submitted")
        self._show(found)
        click.echo(f"CAMPAIGN_ID={found['id']}")
        return str(found["id"])

    def _stream(self, raw: Mapping[str, Any], *, dry_run: bool) -> Json:
        try:
            return self._client.submit(jdl_tasks.without_sources(raw), lambda: jdl_tasks.lines(raw), dry_run=dry_run)
        except InvalidJDL as error:
            raise InvalidJDL(error.faults + _other_faults(raw)) from None

    def add(self, campaign: str, source: Text) -> str:
        """Add tasks to a campaign; its id."""
        lines = jdl_tasks.parameters(lenient_json.loads(source())[0])
        found = self._client.add_tasks(campaign, lambda: lines)
        click.echo(f"Jobs successfully added to campaign {campaign}")
        self._show(found)
        return campaign

    def _show(self, found: Json) -> None:
        if self._details:
            form: dict[str, Any] = {"indent": 2} if self._pretty else {"separators": (",", ":")}
            click.echo(json.dumps(found, ensure_ascii=False, **form))


def _other_faults(raw: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with a JDL beside its tasks: all faults are told at once."""
    from cigri.core import jdl

    try:
        jdl.parse(
            jdl_tasks.without_sources(raw),
            known_clusters=None,
            default_resources="/resource_id=1",
            default_walltime="1",
            streamed=True,
        )
    except InvalidJDL as error:
        return error.faults
    return []


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def _told(name: str, error: CigriError) -> int:
    """Say why a campaign was refused: one line for each fault."""
    if isinstance(error, ApiRefused) and error.title == "Admission rule error":
        click.echo(f"Admission rule error: \n  {error}", err=True)
        return FAILED
    message = str(error)
    click.echo(f"Error: {name}:" + ("\n" if "\n" in message else " ") + message, err=True)
    return FAILED


if __name__ == "__main__":
    gridsub()
