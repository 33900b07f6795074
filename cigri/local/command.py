"""cigri-local: a whole grid on one machine, for trying, testing and demonstrating."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from cigri import __version__
from cigri.errors import CigriError
from cigri.local.demo import demonstrate
from cigri.local.grid import LocalGrid

Command = TypeVar("Command", bound=Callable[..., object])
NOT_ALL_RUNS = 3


def in_folder(command: Command) -> Command:
    """The option --dir."""
    option = click.option(
        "--dir", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="The grid's folder."
    )
    return option(command)


def read_clusters(context: click.Context, option: click.Parameter, words: tuple[str, ...]) -> dict[str, int]:
    """NAME=SLOTS, several times."""
    clusters = {}
    for word in words:
        name, _, slots = word.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name) or not re.fullmatch(r"[1-9]\d{0,4}", slots):
            raise click.BadParameter(f"{word!r} is not NAME=SLOTS, as in mycluster=4")
        clusters[name] = int(slots)
    return clusters


def read_settings(context: click.Context, option: click.Parameter, words: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE, several times."""
    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", key) or "\n" in value:
            raise click.BadParameter(f"{word!r} is not KEY=VALUE, as in STRESS_FACTOR=0.9")
        settings[key.upper()] = value
    return settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cigri-local")
def cigri_local() -> None:
    """A whole grid on one machine: database, daemons, and clusters that run tasks as processes of yours."""


@cigri_local.command()
@in_folder
@click.option(
    "--cluster", "clusters", multiple=True, metavar="NAME=SLOTS", callback=read_clusters, help="A cluster to have."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    callback=read_settings,
    help="A key of cigri.conf.",
)
def up(folder: Path, clusters: dict[str, int], settings: dict[str, str]) -> None:
    """Bring the grid of a folder up, in the background.

    All it was made of before is there again; clusters and settings named now are added.
    """
    grid = LocalGrid(folder)
    _carefully(lambda: grid.up(clusters, settings))
    click.echo(f"The grid is up. To use it:\n\n    . {grid.layout.environment}\n")


@cigri_local.command()
@in_folder
def down(folder: Path) -> None:
    """Stop the grid of a folder; jobs that run end as preempted ones, and are run again after `up`."""
    _carefully(LocalGrid(folder).down)
    click.echo("The grid is down.")


@cigri_local.command()
@in_folder
def status(folder: Path) -> None:
    """Show what runs. The exit code is 3 when something does not."""
    if not (folder / "local.json").exists():
        raise click.ClickException(f"there is no grid in {folder}")
    parts = LocalGrid(folder).status()
    width = max(len(part.name) for part in parts)
    click.echo(f"{'part':{width}}  {'state':7}  {'pid':>7}  where")
    for part in parts:
        state = "running" if part.pid else "stopped"
        click.echo(f"{part.name:{width}}  {state:7}  {part.pid or '-':>7}  {part.detail}")
    if not all(part.pid for part in parts):
        sys.exit(NOT_ALL_RUNS)


@cigri_local.command()
def demo() -> None:
    """Bring a grid up in a temporary folder, run a campaign of 200 short tasks, and take it down again."""
    try:
        code = demonstrate()
    except CigriError as error:
        raise click.ClickException(str(error)) from error
    sys.exit(code)


def _carefully(action: Callable[[], None]) -> None:
    try:
        action()
    except (CigriError, OSError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    cigri_local()
