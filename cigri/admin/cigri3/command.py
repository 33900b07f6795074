"""gridadmin import-cigri3: the administrator's command."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cigri.admin.grid import Failure, Grid

if TYPE_CHECKING:
    from cigri.admin.cigri3.plan import Plan
    from cigri.admin.cigri3.source import Source
    from cigri.clusters.base import Cluster


@click.command("import-cigri3")
@click.argument("database_url")
@click.option("--dry-run", is_flag=True, help="Only say what would be brought and what would not.")
@click.option("--adopt", is_flag=True, help="Follow the jobs that are on the clusters to their ends.")
@click.option("--wait-drained", is_flag=True, help="Wait until no job is on the clusters (CiGri 3 goes on meanwhile).")
@click.option("--look-every", type=click.FloatRange(min=0.1), default=10.0, show_default=True, metavar="SECONDS")
@click.pass_obj
def import_cigri3(
    grid: Grid, database_url: str, dry_run: bool, adopt: bool, wait_drained: bool, look_every: float
) -> None:
    """Bring a grid of CiGri 3 into this new, empty one: clusters, users, unfinished campaigns.

    DATABASE_URL is the old database, postgresql://USER@HOST/NAME (~/.pgpass or PGPASSWORD has the password). It is
    only read. Numbers of campaigns, tasks and jobs stay what they are. See docs/coming-from-cigri3.md.
    """
    from cigri.admin.cigri3 import source

    if re.match(r"[a-z+0-9]+://[^/@]*:[^/@]+@", database_url):
        click.echo("gridadmin: everybody can read a password in a command (`ps`): use ~/.pgpass", err=True)
    if adopt and wait_drained:
        raise click.UsageError("--adopt and --wait-drained exclude each other")
    if wait_drained and not dry_run:
        _wait_drained(database_url, look_every)
    with source.opened(database_url) as old:
        plan = _planned(grid, old, adopt)
        _tell(plan)
        if dry_run:
            click.echo("nothing was written (--dry-run)")
            return
        done = _write(grid, old, plan)
        click.echo("brought: " + (", ".join(f"{number} {what}" for what, number in sorted(done.items()) if number)))
        if others := old.others():
            click.echo(f"gridadmin: {others} other connections to the old database: stop CiGri 3 for good", err=True)


def _wait_drained(url: str, look_every: float) -> None:
    """Wait until the old database has no job on a cluster any more; say how many are left when that changes."""
    from cigri.admin.cigri3 import source

    said = None
    while True:
        with source.opened(url) as old:
            left = _jobs(old)
        if not left:
            return
        if left != said:
            click.echo(f"waiting for the jobs on the clusters: {left}")
            said = left
        time.sleep(look_every)


def _jobs(old: Source) -> str:
    counted: Counter[str] = Counter()
    for live in old.live():
        counted[live.cluster] += live.jobs
    return ", ".join(f"{number} on {cluster}" for cluster, number in sorted(counted.items()))


def _planned(grid: Grid, old: Source, adopt: bool) -> Plan:
    from cigri.admin.cigri3 import adopting, plan

    made = plan.make(old, grid.settings)
    if left := _jobs(old):
        if not adopt:
            raise Failure(
                f"jobs are still on the clusters: {left}. Wait for their ends (--wait-drained, with CiGri 3 running "
                "and its clusters closed to new jobs), or follow them here (--adopt, with CiGri 3 stopped)"
            )
        with _clients(grid, made) as clients:
            adopting.sort_out(made, old.live_jobs(), clients)
    return made


@contextmanager
def _clients(grid: Grid, made: Plan) -> Iterator[dict[int, Cluster]]:
    """Clients of the clusters that can be asked, with the users' tokens as the old database has them."""
    from cigri.clusters.connect import ClusterSettings, connect, password_purpose
    from cigri.core import vault
    from cigri.errors import ConfigError, TokenRefused

    settings, clients = grid.settings, {}
    for one in made.clusters:
        tokens = {token.said.user or token.user: token.text for token in made.tokens if token.cluster_id == one["id"]}
        tokens |= {token.user: token.text for token in made.tokens if token.cluster_id == one["id"]}

        def ask(login: str | None, tokens: dict[str, str] = tokens) -> str:
            if login is None:
                return tokens.get("root", "")
            if login not in tokens:
                raise TokenRefused(f"{login} has no token")
            return tokens[login]

        names = ("name", "batch", "api_url", "api_auth_type", "api_auth_header", "api_chunk_size", "api_limit")
        secret = made.passwords.get(one["id"])
        sealed = vault.load(settings.token_key_file).seal(secret, password_purpose(one["name"])) if secret else ""
        known = ClusterSettings(
            **{name: one[name] for name in names},
            api_username=one["api_username"] or "",
            api_password=sealed,
            token_key_file=settings.token_key_file,
            verify_ssl=settings.rest_client_verify_ssl,
            ca_file=settings.rest_client_ca_file,
            certificate_file=settings.rest_client_certificate_file if one["api_auth_type"] == "cert" else "",
            key_file=settings.rest_client_key_file if one["api_auth_type"] == "cert" else "",
        )
        try:
            clients[one["id"]] = connect(known, timeout=settings.rest_queries_timeout, ask=ask)
        except ConfigError as error:
            click.echo(f"gridadmin: {error}", err=True)
    yield clients


def _tell(made: Plan) -> None:
    """Everything that the administrator should know, before anything is written."""
    for sentence in made.left_out:
        click.echo(f"left out: {sentence}", err=True)
    for sentence in made.notes:
        click.echo(f"note: {sentence}", err=True)
    for rule in made.rules:
        title = next((line.strip() for line in (rule["code"] or "").splitlines() if line.strip()), "")
        if "user_lists" in (rule["code"] or "") and "normal_authorized" in rule["code"]:
            click.echo(
                f"note: admission rule {rule['id']} is here already as 10-user-lists.py: copy the file user_lists",
                err=True,
            )
        else:
            click.echo(f"to be rewritten: admission rule {rule['id']}: {title} (docs/admission.md)", err=True)
    for state, what in ((made.adopted, "adopted"), (made.held, "set aside: whether they run is not known")):
        if state:
            click.echo(f"{len(state)} jobs on the clusters are {what}")


def _write(grid: Grid, old: Source, made: Plan) -> Counter[str]:
    from cigri.admin.cigri3.writing import write
    from cigri.core import vault
    from cigri.db.engine import notify

    opened = vault.load(grid.settings.token_key_file) if made.secrets else None
    with grid.transaction() as session:
        done = write(session, old, made, opened)
        notify(session, "clusters")
    return done
