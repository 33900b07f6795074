"""gridclean: delete what the jobs of campaigns wrote to their standard output and error on the clusters."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import click

from cigri.cli import options, printing
from cigri.cli.command import FAILED, connect, grid_command
from cigri.client import ApiRefused, Client

PAGE = 5000  # jobs whose files are asked for at once
MOST_REFUSALS = 3  # in a row: then the cluster is left alone


@dataclass
class Cleaned:
    """How it went on one cluster or on all."""

    deleted: int = 0
    gone: int = 0
    left: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, other: Cleaned) -> None:
        self.deleted += other.deleted
        self.gone += other.gone
        self.left += other.left
        self.reasons += other.reasons


@grid_command("gridclean")
@click.argument("campaigns", metavar="CAMPAIGN_ID...", nargs=-1, required=True, type=options.identifiers)
@click.option("-n", "--dry-run", is_flag=True, help="Only list the files.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr how each file is deleted.")
@options.dump
@options.pretty
def gridclean(
    campaigns: tuple[list[str], ...], dry_run: bool, yes: bool, verbose: bool, dump: bool, pretty: bool
) -> None:
    """Delete the output files of a campaign's ended jobs on its clusters, as you, after having listed them.

    Do this before griddel --purge: a purged campaign does not know its files any more.
    """
    if dump and not dry_run:
        raise click.UsageError("--dump is for --dry-run: it lists the files as JSON")
    client, code = connect(verbose=verbose), 0
    for campaign in (one for some in campaigns for one in some):
        if dump:
            printing.copy(client.body(f"/campaigns/{campaign}/files", pretty="true" if pretty else None))
        else:
            code = max(code, _clean(client, campaign, dry_run=dry_run, yes=yes))
    sys.exit(code)


def _all_files(client: Client, campaign: str) -> Iterator[dict[str, Any]]:
    """The files of all pages."""
    after: int | None = 0
    while after is not None:
        page = client.get(f"/campaigns/{campaign}/files", limit=PAGE, after=after)
        yield from page["items"]
        following = [link["href"] for link in page["links"] if link["rel"] == "next"]
        after = int(parse_qs(urlsplit(following[0]).query)["after"][0]) if following else None


def _clean(client: Client, campaign: str, *, dry_run: bool, yes: bool) -> int:
    files = list(_all_files(client, campaign))
    if not files:
        click.echo(f"Campaign {campaign}: no files are known.")
        return 0
    places: dict[int, dict[str, str]] = defaultdict(dict)
    for file in files:
        places[file["cluster_id"]][file["path"]] = file["cluster_name"]
    for paths in places.values():
        printing.write(f"{name}: {path}" for path, name in paths.items())
    count = sum(map(len, places.values()))
    if dry_run:
        click.echo(f"Campaign {campaign}: {_files(count)} would be deleted.")
        return 0
    if not yes and not _confirmed(campaign, count):
        click.echo(f"Campaign {campaign}: nothing was deleted.", err=True)
        return FAILED
    done = Cleaned()
    for cluster, paths in places.items():
        done.add(_delete(client, cluster, list(paths), next(iter(paths.values()))))
    return _tell(campaign, done)


def _confirmed(campaign: str, count: int) -> bool:
    sys.stdout.flush()
    if not sys.stdin.isatty():
        raise click.UsageError("there is nobody to ask: --yes deletes without asking, --dry-run only lists")
    return click.confirm(f"Delete these {_files(count)} of campaign {campaign}?", err=True)


def _delete(client: Client, cluster: int, paths: Sequence[str], name: str) -> Cleaned:
    done, refusals = Cleaned(), 0
    for path in paths:
        if refusals >= MOST_REFUSALS:
            done.left += 1
            continue
        try:
            client.delete(f"/clusters/{cluster}{quote(path)}")
            done.deleted, refusals = done.deleted + 1, 0
        except ApiRefused as error:
            if error.status == 404:
                done.gone, refusals = done.gone + 1, 0
                continue
            done.left, refusals = done.left + 1, refusals + 1
            done.reasons.append(f"{name}: {path}: {error}")
            if refusals == MOST_REFUSALS:
                done.reasons.append(f"{name}: the rest is left, too")
    return done


def _tell(campaign: str, done: Cleaned) -> int:
    for reason in done.reasons:
        click.echo(reason, err=True)
    words = f"Campaign {campaign}: {_files(done.deleted)} deleted"
    words += f", {done.gone} {'was' if done.gone == 1 else 'were'} gone already" if done.gone else ""
    words += f", {done.left} could not be deleted" if done.left else ""
    click.echo(f"{words}.")
    return FAILED if done.left else 0


def _files(count: Any) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


if __name__ == "__main__":
    gridclean()
