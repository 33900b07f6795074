"""A cluster that asks each user for a token: who submits, who waits, what is told, and that no token is seen."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, update

from cigri.core import tokens, vault
from cigri.core.states import CampaignState, EventState
from cigri.daemons.renewing import renew_tokens
from cigri.daemons.sites import Site, Sites
from cigri.db import clusters, mappings
from cigri.db.engine import transaction
from cigri.db.kills import KillReason, mark_campaign
from cigri.db.tables import Cluster, Event, Submission, UserMapping
from cigri.local.minioar.launch import Minioar
from cigri.local.minioar.tokens import issue

SECRET = "the secret of a small cluster, for its tests only"
WEEK = 7 * 86400.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minioar]:
    folder = tmp_path_factory.mktemp("jwt")
    (folder / "secret").write_text(SECRET)
    options: dict[str, Any] = {"jwt_secret_file": folder / "secret", "jwt_lifetime": WEEK}
    with Minioar(folder / "mini", 8, round=0.05, die_with_parent=True, **options) as server:
        yield server


class Users:
    """What users, administrators and time do to the tokens of cluster mini."""

    def __init__(self, engine: Engine, key_file: str) -> None:
        self.engine, self.key_file = engine, key_file
        self.seen: list[str] = []
        with transaction(engine) as session:
            found = clusters.by_name(session, "mini")
            assert found is not None
            self.cluster_id = found.id

    def store(self, user: str, token: str | None = None) -> int:
        """As POST /tokens does."""
        token = token or issue(SECRET, "oar" if user == "root" else user)
        self.seen.append(token)
        sealed = vault.load(self.key_file).seal(token, mappings.purpose(user, self.cluster_id))
        with transaction(self.engine) as session:
            return mappings.store(session, user, self.cluster_id, sealed, tokens.claims(token))

    def kept(self, user: str) -> UserMapping:
        with transaction(self.engine) as session:
            found = mappings.find(session, user, self.cluster_id)
            assert found is not None
            return found

    def token(self, user: str) -> str:
        sealed = self.kept(user).token
        assert sealed is not None
        return vault.load(self.key_file).open(sealed, mappings.purpose(user, self.cluster_id))

    def age(self, user: str, **times: timedelta) -> None:
        """Let the token of a user have been stored, or expire, so long before or after now."""
        values = {name: datetime.now(UTC) + time for name, time in times.items()}
        with transaction(self.engine) as session:
            session.execute(update(UserMapping).where(UserMapping.grid_login == user).values(**values))


@pytest.fixture
def grid(grid: Any, tmp_path: Path) -> Iterator[Any]:
    key_file = str(tmp_path / "token.key")
    vault.create_key_file(key_file)
    grid.settings = dataclasses.replace(grid.settings, token_key_file=key_file)
    with transaction(grid.engine) as session:
        session.execute(update(Cluster).values(api_auth_type="jwt"))
    grid.users = Users(grid.engine, key_file)
    yield grid
    if hasattr(grid, "sites"):
        grid.sites.close()


def site(grid: Any) -> Site:
    updater = grid.updater
    with updater.transaction() as session:
        record = clusters.by_name(session, "mini")
        assert record is not None
    if not hasattr(grid, "sites"):
        grid.sites = Sites(updater)
    found: Site = grid.sites.site(record)
    return found


def open_events(grid: Any) -> list[tuple[str, int | None]]:
    return [
        (each.code, each.campaign_id) for each in grid.rows(Event, state=EventState.OPEN) if each.code != "BLACKLIST"
    ]


def test_each_users_jobs_go_out_and_end_with_the_own_token(grid):
    grid.users.store("alice")
    grid.users.store("bob")
    mine, other = grid.campaign(["a", "b"], "echo"), grid.campaign(["c"], "echo", user="bob")
    grid.finish(mine)
    grid.finish(other)
    assert {each.login for each in grid.rows(Submission)} == {"alice", "bob"}
    assert grid.tasks(mine) == {"done": 2} and grid.tasks(other) == {"done": 1}
    grid.balanced()


def test_without_a_token_a_campaign_waits_alone_and_storing_one_is_enough(grid):
    """E4."""
    grid.users.store("bob")
    mine, other = grid.campaign(["a"], "true"), grid.campaign(["c"], "true", user="bob")
    grid.finish(other)
    assert open_events(grid) == [("RUNNER_SUBMIT_TOKEN_NOT_FOUND", mine)]
    (event,) = grid.events("RUNNER_SUBMIT_TOKEN_NOT_FOUND")
    assert f"gridtoken -i {grid.users.cluster_id} -t TOKEN" in event.message and "oarsub -T" in event.message
    assert (event.count, grid.tasks(mine)) == (1, {"pending": 1})
    assert grid.users.store("alice") == 1
    grid.finish(mine)
    assert open_events(grid) == [] and grid.tasks(mine) == {"done": 1}


def test_an_expired_token_is_told_and_not_sent(grid):
    grid.users.store("alice", issue(SECRET, "alice", -60))
    campaign = grid.campaign(["a"], "true")
    grid.until(lambda: grid.events("RUNNER_SUBMIT_PERMISSION_DENIED"))
    assert "still valid" in grid.events("RUNNER_SUBMIT_PERMISSION_DENIED")[0].message
    assert grid.rows(Submission) == [] and open_events(grid) == [("RUNNER_SUBMIT_PERMISSION_DENIED", campaign)]


def test_a_token_that_the_cluster_refuses_sets_aside_the_campaign_and_not_the_cluster(grid):
    grid.users.store("alice", issue("some other secret of another cluster there", "alice"))
    grid.users.store("bob")
    mine, other = grid.campaign(["a"], "true"), grid.campaign(["b"], "true", user="bob")
    grid.finish(other)
    grid.until(lambda: open_events(grid))
    (event,) = grid.events("RUNNER_SUBMIT_PERMISSION_DENIED")
    assert (event.campaign_id, "gridtoken -i" in event.message, "HTTP 401" in event.message) == (mine, True, True)
    assert grid.tasks(mine) == {"pending": 1}
    for _ in range(3):
        grid.cycles()
    assert len(grid.rows(Submission, campaign_id=mine)) == 1
    grid.users.store("alice")
    grid.finish(mine)
    grid.balanced()


def test_nobody_becomes_somebody_else_by_what_a_token_says(grid):
    """alice brings a token that she made herself, and that says bob."""
    grid.users.store("bob")
    grid.users.store("alice", issue("alice has no secret of any cluster at all", "bob"))
    campaign = grid.campaign(["a"], "true")
    grid.until(lambda: open_events(grid))
    assert grid.tasks(campaign) == {"pending": 1} and grid.live("bob") == []
    # Where tokens do not count, what one says does not either.
    with transaction(grid.engine) as session:
        session.execute(update(Cluster).values(api_auth_type="none"))
        assert mappings.login_of(session, "alice", grid.users.cluster_id) == "alice"
        mappings.map_login(session, "alice", grid.users.cluster_id, "al")
        assert mappings.login_of(session, "alice", grid.users.cluster_id) == "al"


def test_the_name_on_the_cluster_is_the_tokens(grid):
    grid.users.store("alice", issue(SECRET, "amiller"))
    campaign = grid.campaign(["30"], "sleep")
    grid.until(lambda: grid.live("amiller"))
    assert {each.login for each in grid.rows(Submission)} == {"amiller"}
    with transaction(grid.engine) as session:
        mark_campaign(session, campaign, KillReason.CANCELLED)
    grid.until(lambda: not grid.live("amiller"))


def test_jobs_of_a_user_without_a_token_are_still_followed_and_do_not_hinder_others(grid):
    grid.users.store("alice")
    grid.users.store("bob")
    mine, other = grid.campaign(["30", "0"], "sleep"), grid.campaign(["30"], "sleep", user="bob")
    grid.until(lambda: grid.tasks(mine).get("done") == 1 and grid.live("bob") and len(grid.live("alice")) == 1)
    with transaction(grid.engine) as session:
        mappings.remove(session, "alice", grid.users.cluster_id)
        for campaign in (mine, other):
            mark_campaign(session, campaign, KillReason.USER)
    grid.until(lambda: not grid.live("bob"))
    assert len(grid.live("alice")) == 1
    grid.users.store("alice")
    grid.until(lambda: not grid.live("alice"))
    grid.balanced()


def test_tokens_are_renewed_in_time(grid):
    grid.users.store("alice", issue(SECRET, "alice", 3600))
    old = grid.users.token("alice")
    assert renew_tokens(site(grid)) == 0
    grid.users.age("alice", stored_at=timedelta(hours=-3))
    assert renew_tokens(site(grid)) == 1
    new = grid.users.token("alice")
    assert new != old and grid.users.kept("alice").expires_at > datetime.now(UTC) + timedelta(days=6)
    assert renew_tokens(site(grid)) == 0 and grid.events("TOKEN_EXPIRES_SOON") == []


def test_who_cannot_be_renewed_is_told_once(grid):
    grid.users.store("alice", issue("some other secret of another cluster there", "alice", 3600))
    grid.users.age("alice", stored_at=timedelta(hours=-3))
    for _ in range(3):
        assert renew_tokens(site(grid)) == 0
        grid.users.age("alice", renew_at=timedelta(seconds=-1))
    (event,) = grid.events("TOKEN_EXPIRES_SOON")
    assert (event.grid_user, event.state) == ("alice", EventState.CLOSED)
    assert "gridtoken -i" in event.message


def test_a_cluster_that_is_away_is_asked_again_later_and_the_user_told_when_it_gets_late(grid):
    grid.users.store("alice", issue(SECRET, "alice", 3600))
    grid.users.age("alice", stored_at=timedelta(hours=-3))
    grid.faults({"on": "GET /get_new_token", "kind": "error_before"})
    try:
        assert renew_tokens(site(grid)) == 0
        assert grid.users.kept("alice").renew_at > datetime.now(UTC)
        assert grid.events("TOKEN_EXPIRES_SOON") == []
        grid.users.age("alice", renew_at=timedelta(seconds=-1), expires_at=timedelta(minutes=5))
        assert renew_tokens(site(grid)) == 0
        assert len(grid.events("TOKEN_EXPIRES_SOON")) == 1
    finally:
        grid.faults()


def test_a_key_file_that_is_gone_is_no_users_fault(grid):
    grid.users.store("alice")
    campaign = grid.campaign(["a"], "true")
    key = Path(grid.users.key_file)
    key.rename(key.with_suffix(".away"))
    grid.metascheduler.cycle()
    for _ in range(2):
        grid.runner.cycle()
    (event,) = grid.rows(Event, code="CONNECTION_REFUSED")
    assert "key file" in event.message and event.campaign_id is None
    assert grid.rows(Submission) == []
    key.with_suffix(".away").rename(key)
    grid.until(lambda: grid.updater.cycle() or grid.state(campaign) is CampaignState.TERMINATED)


def test_no_token_is_seen_in_logs_or_in_the_database(grid, database, caplog):
    caplog.set_level(logging.DEBUG)
    grid.users.store("root")
    grid.users.store("alice", issue(SECRET, "alice", 3600))
    grid.users.store("bob", issue("some other secret of another cluster there", "bob", 3600))
    grid.users.age("alice", stored_at=timedelta(hours=-3))
    grid.users.age("bob", stored_at=timedelta(hours=-3))
    renew_tokens(site(grid))
    mine = grid.campaign(["a", "b"], "false")
    grid.campaign(["c"], "true", user="bob")
    grid.until(lambda: grid.events("EXIT_ERROR") and grid.events("RUNNER_SUBMIT_PERMISSION_DENIED"))
    grid.users.seen.append(grid.users.token("alice"))
    everything = caplog.text + dump(database.conninfo)
    assert "RUNNER_SUBMIT_PERMISSION_DENIED" in everything and str(mine) in everything
    key = Path(grid.users.key_file).read_text().strip()
    for secret in (*grid.users.seen, key, SECRET):
        assert secret not in everything and secret.rpartition(".")[2] not in everything


def dump(conninfo: str) -> str:
    """All that the database holds."""
    with psycopg.connect(conninfo) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        rows: list[str] = []
        for (name,) in names:
            with connection.cursor().copy(f"COPY {name} TO STDOUT") as copied:  # type: ignore[arg-type]
                rows += [bytes(block).decode() for block in copied]
    return "".join(rows)
