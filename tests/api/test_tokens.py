"""Tokens through the API: stored sealed, shown masked, and no reply, log or table with one in it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from sqlalchemy import delete, text, update

from cigri.core import vault
from cigri.db import events, mappings
from cigri.db.engine import transaction
from cigri.db.tables import ApiToken, Cluster, UserMapping
from cigri.local.minioar.tokens import issue

SECRET = "the secret of a small cluster, for its tests only"


@pytest.fixture
def api(start, engine, tmp_path) -> Any:
    """A grid whose first cluster asks for its users' tokens."""
    vault.create_key_file(str(tmp_path / "token.key"))
    with transaction(engine) as session:
        session.execute(delete(ApiToken))
        session.execute(update(Cluster).where(Cluster.name == "tiger").values(api_auth_type="jwt"))
    return start(token_key_file=str(tmp_path / "token.key"))


def store(api: Any, token: object, user: str = "alice", cluster: object = 1) -> Any:
    return api.ask("POST", "/tokens", {"cluster_id": cluster, "token": token}, user=user)


def test_a_token_is_stored_listed_masked_replaced_and_removed(api, engine, tmp_path):
    """R26."""
    assert api.get("/tokens")["items"] == []
    token = issue(SECRET, "amiller", 3600)
    answer = store(api, token)
    assert answer.status == 201 and "stored for cluster tiger" in answer.json()["message"]
    (item,) = api.get("/tokens")["items"]
    assert (item["cluster_id"], item["cluster_name"], item["login"]) == (1, "tiger", "amiller")
    assert item["cluster_login"] == "Bearer ********" and not item["expired"]
    left = datetime.fromisoformat(item["expires_at"]) - datetime.now(UTC)
    assert 3500 < left.total_seconds() < 3601
    assert api.get("/tokens", user="bob")["items"] == []
    assert store(api, f"Bearer {issue(SECRET, 'alice', None)}\n").status == 201
    (item,) = api.get("/tokens")["items"]
    assert (item["login"], item["expires_at"]) == ("alice", None)
    assert api.ask("DELETE", "/tokens/1", user="bob").status == 404
    assert api.ask("DELETE", "/tokens/1").json()["message"] == "Token of alice for cluster 1 removed"
    assert api.ask("DELETE", "/tokens/1").status == 404
    with transaction(engine) as session:
        assert session.query(UserMapping).count() == 0


@pytest.mark.parametrize(
    ("token", "user", "cluster", "status", "words"),
    [
        (issue(SECRET, "alice"), "alice", 2, 400, "does not ask for its users' tokens"),
        (issue(SECRET, "alice"), "alice", 99, 404, "gridclusters"),
        (issue(SECRET, "alice"), "alice", "x", 404, "There is no cluster x"),
        (issue(SECRET, "alice"), "alice", None, 404, "There is no cluster"),
        (issue(SECRET, "alice", -60), "alice", 1, 400, "expired"),
        (issue(SECRET, "oar"), "alice", 1, 400, "not yours"),
        (issue(SECRET, "root"), "alice", 1, 400, "not yours"),
        (issue(SECRET, "alice"), "root", 1, 400, "root's token is the one of"),
        ("no.token.at-all", "alice", 1, 400, "no token of a cluster"),
        ("", "alice", 1, 400, "oarsub -T"),
        (None, "alice", 1, 400, "oarsub -T"),
        ({"a": "secret-in-it"}, "alice", 1, 400, "oarsub -T"),
        (jwt.encode({"user": "a\nb"}, SECRET), "alice", 1, 400, "no name"),
    ],
)
def test_what_cannot_be_stored_is_refused_without_being_shown(api, token, user, cluster, status, words):
    answer = store(api, token, user, cluster)
    assert answer.status == status and words in answer.json()["message"], answer.text
    assert (
        not (isinstance(token, str) and len(token) > 9 and token in answer.text) and "secret-in-it" not in answer.text
    )
    assert api.get("/tokens", user=user)["items"] == []


def test_roots_token_is_the_one_of_oar(api):
    assert store(api, issue(SECRET, "oar"), "root").status == 201
    assert api.get("/tokens", user="root")["items"][0]["login"] == "oar"


def test_a_body_that_is_no_json_is_not_shown(api):
    for body in ("{secret", "[]", '"secret"', "secret"):
        answer = api.ask("POST", "/tokens", body)
        assert answer.status == 400 and "secret" not in answer.text


def test_without_a_key_file_nothing_is_stored(api, tmp_path):
    key = Path(tmp_path / "token.key")
    key.chmod(0o644)
    answer = store(api, issue(SECRET, "alice"))
    assert answer.status == 503 and "chmod 600" in answer.json()["message"]
    key.unlink()
    answer = store(api, issue(SECRET, "alice"))
    assert answer.status == 503 and "gridadmin key create" in answer.json()["message"]


def test_storing_a_token_closes_what_waited_for_it(api, engine):
    mine, other = api.submit("a"), api.submit("b", user="bob")
    with transaction(engine) as session:
        for campaign in (mine, other):
            for code in mappings.TOKEN_TROUBLE:
                events.record(session, events.News(code, "type", campaign, 1))
            events.record(session, events.News("RUNNER_SUBMIT_ERROR", "else", campaign, 1))
    assert store(api, issue(SECRET, "alice")).status == 201
    left = {key: sorted(one["code"] for one in api.get(f"/campaigns/{key}/events")["items"]) for key in (mine, other)}
    assert left[mine] == ["BLACKLIST", "RUNNER_SUBMIT_ERROR"]
    assert len(left[other]) == 6


def test_personal_tokens_are_made_shown_once_and_revoked(api):
    made = api.ask("POST", "/api_tokens", {"days": 3})
    assert (made.status, made.headers["cache-control"]) == (201, "no-store")
    token = made.json()["token"]
    (item,) = api.get("/api_tokens")["items"]
    assert item["id"] == made.json()["id"] and token not in str(api.get("/api_tokens"))
    left = datetime.fromisoformat(item["expires_at"]) - datetime.now(UTC)
    assert 2.9 < left.total_seconds() / 86400 < 3.01
    come = {"user": None, "tcp": True, "Authorization": f"Bearer {token}"}
    assert api.ask("GET", "/api_tokens", **come).status == 200
    assert api.ask("POST", "/api_tokens", {}, **come).status == 403
    assert api.ask("DELETE", f"/api_tokens/{item['id']}", user="bob").status == 404
    assert api.ask("DELETE", f"/api_tokens/{item['id']}").status == 202
    assert api.ask("GET", "/api_tokens", **come).status == 401
    for days in (0, 367, "7", 1.5, True):
        assert api.ask("POST", "/api_tokens", {"days": days}).status == 400


def test_no_reply_no_log_and_no_table_has_a_token(api, engine, caplog, tmp_path):
    """K5."""
    caplog.set_level(logging.DEBUG)
    secrets = [issue(SECRET, "alice"), issue(SECRET, "amiller", 60), issue(SECRET, "alice", -60)]
    seen = "".join(store(api, token).text for token in secrets)
    for route in ("/tokens", "/clusters", "/clusters/1", "/api_tokens", "/events"):
        seen += api.ask("GET", route).text
    personal = api.ask("POST", "/api_tokens", {}).json()["token"]
    seen += api.ask("GET", "/api_tokens", Authorization=f"Bearer {personal}", user=None).text
    seen += api.ask("GET", "/tokens", Authorization=f"Bearer {personal}x", user=None).text
    with transaction(engine) as session:
        for table in ("users_mapping", "api_tokens", "events", "clusters"):
            seen += str(session.execute(text(f"SELECT {table}::text FROM {table}")).all())  # noqa: S608
    seen += caplog.text
    assert "users_mapping" not in seen and "amiller" in seen
    for secret in (*secrets, personal, SECRET, Path(tmp_path / "token.key").read_text().strip()):
        assert secret not in seen and secret.rpartition(".")[2] not in seen
