"""gridadmin cluster: the clusters that the grid uses. almighty follows each change without a restart."""

from __future__ import annotations

import json
import re
import time
from typing import IO, TYPE_CHECKING, Any

import click

from cigri.admin import fields
from cigri.admin.grid import Failure, Grid, known_cluster
from cigri.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from cigri.db.tables import Cluster

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
HIDDEN = frozenset({"api_password", "removed_at"})
PASSWORD = click.option(
    "--password-file",
    type=click.File(),
    help="File with the grid's password there, `-` for standard input (password); it is kept encrypted.",
)
LISTED = ("name", "batch", "api_auth_type", "enabled", "power", "api_url")
STATUS = (
    "resources_total",
    "resources_unavailable",
    "resources_free",
    "resources_besteffort",
    "resources_at",
    "stress",
    "stress_ceiling",
)
DUMP = click.option("-d", "--dump", is_flag=True, help="Print JSON.")


@click.group()
def cluster() -> None:
    """The clusters of the grid."""


@cluster.command()
@click.argument("name")
@fields.options(adding=True)
@PASSWORD
@click.option("--disabled", is_flag=True, help="Do not send jobs there yet.")
@click.pass_obj
def add(grid: Grid, /, name: str, disabled: bool, password_file: IO[str] | None, **values: Any) -> None:
    """Add a cluster. Its jobs begin at once: no restart is needed."""
    from cigri.db import clusters
    from cigri.db.engine import notify

    if not NAME.fullmatch(name):
        raise click.BadParameter("a letter or digit, then up to 62 letters, digits, `.`, `_`, `-`", param_hint="NAME")
    columns = fields.given(values) | _password(name, grid, password_file)
    _check(name, grid, columns)
    _check_load(columns)
    with grid.transaction() as session:
        if clusters.by_name(session, name) is not None:
            raise Failure(f"there is a cluster {name} already: `gridadmin cluster set {name}` changes it")
        added = clusters.declare(session, name, enabled=not disabled, **columns)
        notify(session, "clusters")
        number = added.id
    click.echo(f"cluster {name} added as number {number}{', disabled' if disabled else ''}")


@cluster.command("list")
@DUMP
@click.pass_obj
def list_(grid: Grid, /, dump: bool) -> None:
    """List the clusters."""
    from cigri.db import clusters

    with grid.transaction() as session:
        found = [_known(one) for one in clusters.present(session)]
    if dump:
        click.echo(json.dumps(found, default=_shown))
    elif found:
        _table([(str(one["id"]), *(_shown(one[column]) for column in LISTED)) for one in found])
    else:
        click.echo("no cluster yet: gridadmin cluster add NAME --batch oar3 --api-url URL --auth none|jwt")


@cluster.command()
@click.argument("name")
@DUMP
@click.pass_obj
def show(grid: Grid, /, name: str, dump: bool) -> None:
    """Show everything about a cluster."""
    from cigri.db import clusters, loads

    with grid.transaction() as session:
        found = known_cluster(session, name)
        known = _known(found)
        status = clusters.status(session, found.id)
        if status is not None and status.resources_at is not None:
            known |= {column: getattr(status, column) for column in STATUS}
        if (load := loads.of_cluster(session, found)) is not None:
            known |= {"load": load.load, "load_read_at": load.read_at, "load_fault": load.fault}
            known["load_ceiling"] = load.ceiling
        known["live_jobs"] = clusters.live_jobs(session, found.id)
        known["unsettled_submissions"] = clusters.unsettled_submissions(session, found.id)
    if dump:
        click.echo(json.dumps(known, default=_shown))
        return
    for column, value in known.items():
        click.echo(f"{column + ':':<22} {_shown(value)}")


@cluster.command("set")
@click.argument("name")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@fields.options(adding=False)
@PASSWORD
@click.option("--same-cluster", is_flag=True, help="The new URL leads to the same cluster: its jobs are found there.")
@click.pass_context
def set_(
    context: click.Context,
    /,
    name: str,
    pairs: tuple[str, ...],
    password_file: IO[str] | None,
    same_cluster: bool,
    **values: Any,
) -> None:
    """Change a cluster: KEY=VALUE, or the same options as for `add`. `none` empties what may be empty.

    A new URL is taken while no job of the grid is there, or with --same-cluster.
    """
    from cigri.db import clusters
    from cigri.db.engine import notify

    grid: Grid = context.obj
    named = {key: value for key, value in values.items() if value is not None}
    columns = fields.given({**named, **fields.assignments(pairs, context)}) | _password(name, grid, password_file)
    if not columns:
        raise click.UsageError("nothing to set", context)
    told = {key: "********" if key == "api_password" and value else _shown(value) for key, value in columns.items()}
    if columns.get("api_auth_type", "jwt") != "jwt":
        columns.setdefault("token_file", None)
    if columns.get("api_auth_type", "password") != "password":
        columns |= {"api_username": None, "api_password": None}
    if columns.get("load_sensor", "some") is None:
        columns.setdefault("load_reference", None)
    with grid.transaction() as session:
        found = known_cluster(session, name, change=True)
        _check(name, grid, _declared(found) | columns)
        _check_load(_declared(found) | columns)
        moved = columns.get("api_url", found.api_url) != found.api_url and not same_cluster
        if moved:
            _no_jobs(session, found, f"drain it first (`gridadmin cluster drain {name}`), or say --same-cluster")
        clusters.change(session, found, moved=moved, **columns)
        notify(session, "clusters")
    click.echo(f"cluster {name}: {', '.join(f'{key} = {value}' for key, value in told.items())}")


@cluster.command()
@click.argument("name")
@click.pass_obj
def enable(grid: Grid, name: str) -> None:
    """Send jobs to a cluster (again)."""
    from cigri.db import clusters
    from cigri.db.engine import notify

    with grid.transaction() as session:
        found = known_cluster(session, name, change=True)
        _check(name, grid, _declared(found))
        changed = not found.enabled
        clusters.change(session, found, enabled=True)
        notify(session, "clusters")
    click.echo(f"cluster {name} enabled" if changed else f"cluster {name} was enabled already")


@cluster.command()
@click.argument("name")
@click.pass_obj
def disable(grid: Grid, name: str) -> None:
    """Send no new jobs to a cluster; those that are there are followed to their end."""
    from cigri.db import clusters
    from cigri.db.engine import notify

    with grid.transaction() as session:
        found = known_cluster(session, name, change=True)
        clusters.disable(session, found)
        live = clusters.live_jobs(session, found.id)
        notify(session, "clusters")
    click.echo(f"cluster {name} disabled; {_number(live, 'live job')} followed to the end")


@cluster.command()
@click.argument("name")
@click.option("--now", is_flag=True, help="Delete the jobs that run there, too; their tasks run again.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait so long until no job is left there.",
)
@click.pass_obj
def drain(grid: Grid, name: str, now: bool, wait: float | None) -> None:
    """Empty a cluster: no new jobs, those that wait there are called back, those that run end.

    What is called back is not a failure. `gridadmin cluster enable` ends the draining.
    """
    from cigri.db import clusters, kills
    from cigri.db.engine import notify

    with grid.transaction() as session:
        found = known_cluster(session, name, change=True)
        clusters.disable(session, found)
        recalled = kills.recall(session, found.id, running_too=now)
        live = clusters.live_jobs(session, found.id)
        notify(session, "clusters")
    told = f"{_number(recalled, 'job')} called back, {live - recalled} followed to the end"
    click.echo(f"cluster {name} disabled; {told}")
    if wait is not None:
        _wait_until_empty(grid, name, wait)


def _wait_until_empty(grid: Grid, name: str, seconds: float) -> None:
    from cigri.db import clusters

    end = time.monotonic() + seconds
    while True:
        with grid.transaction() as session:
            found = known_cluster(session, name)
            left = clusters.live_jobs(session, found.id) + clusters.unsettled_submissions(session, found.id)
        if not left:
            click.echo(f"cluster {name} is empty")
            return
        if time.monotonic() >= end:
            raise Failure(f"{_number(left, 'job')} of the grid on cluster {name} after {seconds:g} s")
        time.sleep(min(1.0, max(0.0, end - time.monotonic())))


def _no_jobs(session: Session, found: Cluster, advice: str) -> None:
    """Raise Failure while jobs of the grid may be on the cluster."""
    from cigri.db import clusters

    live = clusters.live_jobs(session, found.id)
    unsettled = clusters.unsettled_submissions(session, found.id)
    if live or unsettled:
        there = f"{_number(live, 'live job')} and {_number(unsettled, 'unsettled submission')}"
        raise Failure(f"cluster {found.name} has {there}: {advice}")


@cluster.command()
@click.argument("name")
@click.option("--forget-jobs", is_flag=True, help="Give up jobs of the grid that may be there: for one that is dead.")
@click.pass_obj
def remove(grid: Grid, name: str, forget_jobs: bool) -> None:
    """Remove a cluster that has no jobs of the grid any more. Its history stays.

    --forget-jobs is for a cluster that will never answer again: nobody knows whether its jobs ran, so their tasks are
    held for their owners (JOB_LOST; those of campaigns with `rerun_lost` run again elsewhere).
    """
    from cigri.db import clusters, forgetting
    from cigri.db.engine import notify

    with grid.transaction() as session:
        found = known_cluster(session, name, change=True)
        clusters.mark_removed(session, found)  # first: from here on nobody claims for it
        forgotten = forgetting.forget_jobs(session, found) if forget_jobs else 0
        _no_jobs(session, found, f"`gridadmin cluster drain {name}`, and remove it when they have ended")
        waiting = clusters.hopeful_campaigns(session, found.id)
        notify(session, "clusters")
    click.echo(f"cluster {name} removed" + (f", {_number(forgotten, 'job')} forgotten" if forget_jobs else ""))
    if waiting:
        click.echo(f"gridadmin: {_number(waiting, 'unfinished campaign')} may use no other cluster", err=True)


@cluster.command()
@click.argument("name")
@click.option("--user", "login", metavar="LOGIN", help="Ask as this user of the cluster.")
@click.option("--submit", is_flag=True, help="Run a small best-effort job as that user.")
@click.option("--directory", default="$HOME", show_default=True, help="Where that job runs.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the job is followed before it is deleted.",
)
@click.pass_obj
def test(grid: Grid, name: str, login: str | None, submit: bool, directory: str, wait: float) -> None:
    """Talk to a cluster: its clock, its scheduler, its resources, its stress factor, its load sensor."""
    from cigri.admin import trial
    from cigri.clusters.connect import connect, described
    from cigri.db.engine import transaction
    from cigri.db.locks import ClusterLock
    from cigri.db.wallet import Wallet

    if submit and not login:
        raise click.UsageError("--submit needs --user LOGIN")
    with grid.engine() as engine:
        with transaction(engine) as session:
            found = known_cluster(session, name)
        lock = ClusterLock(engine, found.id, wait=grid.settings.rest_queries_timeout)
        try:
            settings = described(found, grid.settings)
            wallet = Wallet(engine, found.id, name, grid.settings.token_key_file)
            ask = wallet.asking(_grid_login(engine, found.id, login) if login else "")
            client = connect(settings, timeout=grid.settings.rest_queries_timeout, lock=lock, ask=ask)
            limit = found.stress_factor or grid.settings.stress_factor
            trial.look(client, login, found.resource_unit, limit, click.echo)
            if found.load_sensor is not None:
                verify = (settings.ca_file or True) if settings.verify_ssl else False
                trial.sense(
                    found.load_sensor, found.load_reference, grid.settings.load_sensor_period, verify, click.echo
                )
            if submit and login:
                job = trial.sample(login, grid.settings.default_job_resources, directory)
                trial.run(client, job, wait, click.echo)
        finally:
            lock.close()
    click.echo(f"cluster {name}: all is well")


def _grid_login(engine: Engine, cluster_id: int, login: str) -> str:
    """Whose token is sent for this user of the cluster."""
    from cigri.db import mappings
    from cigri.db.engine import transaction

    with transaction(engine) as session:
        return mappings.bearer_of(session, login, cluster_id) or login


def _check(name: str, grid: Grid, columns: dict[str, Any]) -> None:
    """Raise Failure unless this release can talk to such a cluster."""
    from cigri.clusters import connect

    if columns["batch"] == "g5k":
        raise Failure("batch g5k is gone with the API it was for: Grid'5000's sites are clusters of batch oar2_5")
    known = {key: columns[key] for key in ("batch", "api_url", "api_auth_type", "api_auth_header") if key in columns}
    settings = connect.ClusterSettings(
        name=name,
        token_file=columns.get("token_file") or "",
        api_username=columns.get("api_username") or "",
        api_password=columns.get("api_password") or "",
        certificate_file=grid.settings.rest_client_certificate_file,
        **known,
    )
    try:
        connect.check(settings)
    except ConfigError as error:
        raise Failure(str(error)) from error


def _check_load(columns: dict[str, Any]) -> None:
    """Raise Failure when half of what a load sensor needs is missing."""
    if columns.get("load_sensor") is not None and columns.get("load_reference") is None:
        raise Failure("load_sensor needs a load_reference: the load at which the grid keeps what the sensor tells")
    if columns.get("load_sensor") is None and columns.get("load_reference") is not None:
        raise Failure("load_reference is nothing without a load_sensor: a command with an absolute path, or a URL")


def _declared(cluster: Cluster) -> dict[str, Any]:
    """What an administrator has said of a cluster."""
    return {column: getattr(cluster, column) for column in (*(field.column for field in fields.FIELDS), "api_password")}


def _password(name: str, grid: Grid, file: IO[str] | None) -> dict[str, Any]:
    """The password from a file as it is stored: sealed."""
    from cigri.clusters.connect import password_purpose
    from cigri.core import vault

    if file is None:
        return {}
    password = file.read().strip("\n")
    if not password or "\n" in password:
        raise Failure("the password file must hold one line")
    return {"api_password": vault.load(grid.settings.token_key_file).seal(password, password_purpose(name))}


def _known(cluster: Cluster) -> dict[str, Any]:
    """The columns of a cluster that may be shown."""
    columns = (column.key for column in cluster.__table__.columns)
    return {column: getattr(cluster, column) for column in columns if column not in HIDDEN}


def _table(rows: list[tuple[str, ...]]) -> None:
    shown = [("id", "name", "batch", "auth", "enabled", "power", "url"), *rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    for row in shown:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _shown(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    isoformat = getattr(value, "isoformat", None)
    return isoformat(sep=" ", timespec="seconds") if isoformat else str(value)
