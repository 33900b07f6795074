"""gridadmin admission: the rules that campaigns must pass."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cigri.admin.grid import Failure, Grid

if TYPE_CHECKING:
    from cigri.admission import Context, Rules
    from cigri.core.jdl import Campaign


@click.group()
def admission() -> None:
    """The admission rules."""


@admission.command()
@click.argument("jdl_file", metavar="[JDL]", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--user", metavar="NAME", help="Who would submit it; you, unless somebody is named.")
@click.pass_obj
def check(grid: Grid, jdl_file: Path | None, user: str | None) -> None:
    """See whether the rules can be used, and what they say to a campaign.

    Run it as the user that the API server runs as: rules may belong to root or to that user.
    """
    from cigri.admission import Broken, Refuse, Rules

    rules = Rules(grid.settings.admission_rules_directory)
    try:
        _list(grid, rules)
        if jdl_file is not None:
            _try(grid, rules, jdl_file, user or getpass.getuser())
    except Broken as error:
        raise Failure(f"admission rules are broken, every campaign is refused: {error}") from error
    except Refuse as error:
        raise Failure(f"refused: {error}") from error


def _list(grid: Grid, rules: Rules) -> None:
    directory = grid.settings.admission_rules_directory
    if not directory:
        click.echo("no rules: ADMISSION_RULES_DIRECTORY is none")
        return
    for rule in rules.current():
        click.echo(f"{rule.path.name}: can be used")
    if not rules.current():
        click.echo(f"{directory}: no rules in it")


def _try(grid: Grid, rules: Rules, file: Path, user: str) -> None:
    from cigri.core import jdl

    campaign, context = _read(grid, file, user)
    before = jdl.expanded(campaign)
    after = rules.admit(before, user, context)
    for path, old, new in _changes(before, after):
        click.echo(f"changed: {path} from {old!r} to {new!r}")
    click.echo(f"accepted: campaign {campaign.name} of {context.tasks} tasks, for {user}")


def _read(grid: Grid, file: Path, user: str) -> tuple[Campaign, Context]:
    """The campaign in the file, and what the rules would know of it."""
    from cigri.admission import Context
    from cigri.core import jdl, jdl_tasks, lenient_json
    from cigri.db import admission as facts
    from cigri.db import clusters

    settings = grid.settings
    with grid.transaction() as session:
        names = [cluster.name for cluster in clusters.present(session)]
        unfinished = facts.unfinished(session, user)
    try:
        raw, _ = lenient_json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file}: {error}") from error
    campaign, _ = jdl.parse(
        jdl_tasks.without_sources(raw) if isinstance(raw, dict) else raw,
        known_clusters=names,
        default_resources=settings.default_job_resources,
        default_walltime=settings.default_job_walltime,
        streamed=True,
    )
    context = Context(
        tasks=sum(1 for _ in jdl_tasks.lines(raw)),
        unfinished=unfinished,
        clusters=tuple(names),
        administrators=settings.api_administrators,
        max_tasks=settings.max_tasks_per_campaign,
        max_campaigns=settings.max_campaigns_per_user,
        user_lists_file=settings.user_lists_file,
    )
    return campaign, context


def _changes(before: Any, after: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Where two JDLs differ."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return [] if before == after else [(path, before, after)]
    found = []
    for key in {**before, **after}:
        found += _changes(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    return found
