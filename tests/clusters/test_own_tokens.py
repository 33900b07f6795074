"""Clusters that ask each user for a token: what is sent for whom, what comes back, what is never shown."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from cigri.clusters.base import Submission
from cigri.clusters.connect import ClusterSettings, connect, password_purpose
from cigri.core import tokens, vault
from cigri.errors import BadReply, ClusterError, ConfigError, TokenRefused, Unreachable
from cigri.local.minioar.launch import Minioar
from cigri.local.minioar.tokens import issue

SECRET = "the secret of a small cluster, for its tests only"
URL = "http://cluster.test/oarapi"


@pytest.fixture(scope="module")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("jwt") / "secret"
    file.write_text(SECRET)
    return file


@pytest.fixture(scope="module")
def cluster(secret_file: Path) -> Iterator[Minioar]:
    folder = secret_file.parent / "c"
    with Minioar(folder, 2, round=0.05, die_with_parent=True, jwt_secret_file=secret_file) as server:
        yield server


@pytest.fixture(scope="module")
def closed(secret_file: Path) -> Iterator[Minioar]:
    """One behind a front that asks for a token at every request."""
    folder = secret_file.parent / "closed"
    with Minioar(folder, 2, round=0.05, die_with_parent=True, jwt_secret_file=secret_file, closed=True) as server:
        yield server


def client(url: str, lister: str = "", **held: str) -> Any:
    """A client of users with these tokens."""

    def ask(login: str | None) -> str:
        if login is None:
            return lister
        if login not in held:
            raise TokenRefused(f"{login} has no token")
        return held[login]

    return connect(ClusterSettings(name="c", batch="oar3", api_url=url, api_auth_type="jwt"), ask=ask)


def sample(login: str, folder: Path) -> Submission:
    return Submission(
        "cigri.test", login, "true", ["one", "two"], "/resource_id=1", "0:05:00", str(folder), ("besteffort",)
    )


def bearer(user: str, lifetime: float | None = 3600) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue(SECRET, user, lifetime)}"}


# --- minioar as recorded


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"X-Remote-Ident": "alice"}, 403),
        ({"Authorization": "Bearer "}, 403),
        ({"Authorization": "Basic YWxpY2U6eA=="}, 403),
        ({"Authorization": "Bearer abc.def.ghi"}, 401),
        (bearer("alice", -5), 401),
        ({"Authorization": f"Bearer {issue('another secret, as long as the right one is', 'alice')}"}, 401),
        (bearer("alice"), 200),
        (bearer("alice", None), 200),
    ],
)
def test_minioar_judges_tokens_as_oar3_does(cluster, headers, status):
    assert requests.get(f"{cluster.url}/check_token", headers=headers, timeout=5).status_code == status
    assert requests.get(f"{cluster.url}/get_new_token", headers=headers, timeout=5).status_code == status
    assert requests.delete(f"{cluster.url}/jobs/999999", headers=headers, timeout=5).status_code == status
    assert requests.get(f"{cluster.url}/jobs?limit=1", headers=headers, timeout=5).status_code == 200
    if status == 401:
        assert requests.get(f"{cluster.url}/whoami", headers=headers, timeout=5).json()["authenticated_user"] == ""


# --- what is sent


def test_each_user_acts_with_the_own_token_and_everybody_may_look(cluster, tmp_path):
    mine = client(cluster.url, alice=issue(SECRET, "alice"))
    array = mine.submit(sample("alice", tmp_path))
    assert {job.user for job in client(cluster.url).array(array)} == {"alice"}
    with pytest.raises(TokenRefused, match="bob has no token"):
        mine.delete("bob", array)
    others = client(cluster.url, bob=issue(SECRET, "bob"))
    assert others.delete("bob", array).message.count("not the right user") == 1
    assert mine.delete("alice", array).accepted
    assert mine.record(array)["name"] == "cigri.test"


def test_a_token_decides_whatever_name_stands_beside_it(cluster, tmp_path):
    array = client(cluster.url, alice=issue(SECRET, "carol")).submit(sample("alice", tmp_path))
    assert {job.user for job in client(cluster.url).array(array)} == {"carol"}


def test_expired_tokens_are_refused_and_not_shown(cluster, tmp_path):
    token = issue(SECRET, "alice", -5)
    with pytest.raises(TokenRefused) as caught:
        client(cluster.url, alice=token).submit(sample("alice", tmp_path))
    assert caught.value.status == 401 and token not in str(caught.value)


def test_lists_are_asked_for_by_the_lister_then_by_the_user(closed):
    good, stale = issue(SECRET, "oar"), issue(SECRET, "oar", -5)
    own = issue(SECRET, "alice")
    assert client(closed.url, good).live_jobs("alice") == []
    assert client(closed.url, good, alice=own).live_jobs("alice") == []
    assert client(closed.url, stale, alice=own).live_jobs("alice") == []
    assert client(closed.url, alice=own).live_jobs("alice") == []
    for nobody in (client(closed.url), client(closed.url, stale)):
        with pytest.raises(TokenRefused):
            nobody.live_jobs("alice")
    with pytest.raises(TokenRefused):
        client(closed.url, stale).check_health()


def test_the_lister_reads_no_files_and_sends_nothing(cluster, tmp_path):
    lister = client(cluster.url, issue(SECRET, "oar"))
    (tmp_path / "file").write_text("private")
    for act in (
        lambda: lister.read_file("alice", str(tmp_path / "file")),
        lambda: lister.delete_file("alice", str(tmp_path / "file")),
        lambda: lister.submit(sample("alice", tmp_path)),
        lambda: lister.delete("alice", 1),
    ):
        with pytest.raises(TokenRefused):
            act()
    own = client(cluster.url, alice=issue(SECRET, "alice"))
    assert own.read_file("alice", str(tmp_path / "file")) == b"private"


def test_tokens_are_renewed_by_the_clusters_route(cluster):
    old = issue(SECRET, "alice", 60)
    new = client(cluster.url, alice=old).renew_token("alice")
    before, after = tokens.claims(old), tokens.claims(new)
    assert after.user == "alice" and after.expires > before.expires
    with pytest.raises(TokenRefused):
        client(cluster.url, alice=issue(SECRET, "alice", -5)).renew_token("alice")


@pytest.mark.parametrize(
    "body", ['{"OAR_API_TOKEN": 7}', '["leaked-token"]', "leaked-token", '{"token": "leaked-token"}']
)
@responses.activate
def test_a_strange_answer_to_a_renewal_is_not_shown(body):
    responses.get(f"{URL}/get_new_token", body)
    with pytest.raises(BadReply) as caught:
        client(URL, alice=issue(SECRET, "alice")).renew_token("alice")
    assert "leaked" not in str(caught.value)


@pytest.mark.parametrize("kind", ["text", "detail"])
@responses.activate
def test_a_token_that_comes_back_in_an_error_is_masked(kind, caplog):
    token = issue(SECRET, "alice")
    words = f"bad request: Authorization: Bearer {token}" + " and more" * 30
    content = {"json": {"detail": words}} if kind == "detail" else {"body": words}
    responses.get(f"{URL}/media", status=500, **content)
    responses.get(f"{URL}/jobs/7", status=403, **content)
    caplog.set_level(logging.DEBUG)
    for ask in (lambda c: c.read_file("alice", "/tmp/a"), lambda c: c.record(7)):
        with pytest.raises(ClusterError) as caught:
            ask(client(URL, token, alice=token))
        assert token not in str(caught.value) and "********" in str(caught.value)
    assert token not in caplog.text


# --- password and certificate


@responses.activate
def test_a_password_is_sent_as_basic_authentication_beside_the_name(tmp_path):
    """K3."""
    key = str(tmp_path / "key")
    vault.create_key_file(key)
    sealed = vault.load(key).seal("pass:word é", password_purpose("c"))
    settings = ClusterSettings(
        name="c",
        batch="oar3",
        api_url=URL,
        api_auth_type="password",
        api_username="cigri",
        api_password=sealed,
        token_key_file=key,
    )
    assert "pass:word" not in repr(settings) and sealed not in repr(settings)
    responses.get(f"{URL}/jobs", json={"total": 0, "offset": 0, "items": []})
    connect(settings).live_jobs("alice")
    sent = responses.calls[0].request.headers
    assert base64.b64decode(sent["Authorization"].removeprefix("Basic ")).decode() == "cigri:pass:word é"
    assert sent["X-Remote-Ident"] == "alice"
    other = str(tmp_path / "other")
    vault.create_key_file(other)
    for wrong in (other, str(tmp_path / "absent")):
        with pytest.raises(ConfigError, match="key file"):
            connect(ClusterSettings(**{**fields(settings), "token_key_file": wrong}))


def fields(settings: ClusterSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in ClusterSettings.__dataclass_fields__}


def test_unopened_tokens_are_nothing_sent():
    def locked(login: str | None) -> str:
        raise Unreachable("the tokens cannot be opened")

    settings = ClusterSettings(name="c", batch="oar3", api_url=URL, api_auth_type="jwt")
    with pytest.raises(Unreachable):
        connect(settings, ask=locked).delete("alice", 1)
