"""Subscriptions: everybody's own, checked before they are kept."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from cigri.core import vault
from cigri.db.engine import transaction


@pytest.fixture
def empty(start, engine, tmp_path):
    with transaction(engine) as session:
        session.execute(text("TRUNCATE subscriptions CASCADE"))
    vault.create_key_file(str(tmp_path / "token.key"))
    return start(token_key_file=str(tmp_path / "token.key"))


def subscribe(api, channel, identity, **more):
    user = more.pop("user", "alice")
    return api.ask("POST", f"/notifications/{channel}", {"identity": identity, **more}, user=user)


@pytest.mark.parametrize("name", ["https://chat.example.org/hooks/x", "https://chat.example.org/...7068169674f9"])
def test_a_subscription_is_made_changed_listed_and_ended(empty, engine, name) -> None:
    """R25."""
    answer = subscribe(empty, "mail", "alice@example.org")
    assert answer.status == 201
    assert answer.json()["message"].startswith("Subscribed: mail of low severity and above to alice@example.org")
    assert "NOTIFICATIONS_SMTP_SERVER" in answer.json()["message"]  # this grid has none
    assert subscribe(empty, "jabber", "alice@jabber.example.org", severity="medium").status == 201
    assert subscribe(empty, "webhook", "https://chat.example.org/hooks/x", severity="HIGH").status == 201
    changed = subscribe(empty, "mail", "alice@example.org", severity="high").json()
    assert changed["message"].startswith("Changed: mail of high severity to alice@example.org")
    assert empty.get("/notifications")["items"] == [
        {"type": "mail", "identity": "alice@example.org", "severity": "high"},
        {"type": "jabber", "identity": "alice@jabber.example.org", "severity": "medium"},
        {"type": "webhook", "identity": "https://chat.example.org/...7068169674f9", "severity": "high"},
    ]
    with transaction(engine) as session:
        assert "hooks/x" not in str(session.execute(text("SELECT * FROM subscriptions")).all())
    gone = empty.ask("DELETE", f"/notifications/webhook?identity={name}")
    assert gone.status == 202 and gone.json()["message"].startswith("Unsubscribed")
    assert empty.get("/notifications")["total"] == 2


def test_everybody_sees_and_ends_their_own_only(empty) -> None:
    subscribe(empty, "mail", "alice@example.org")
    assert empty.get("/notifications", user="bob")["items"] == []
    assert empty.get("/notifications", user="root")["items"] == []
    assert empty.ask("DELETE", "/notifications/mail?identity=alice@example.org", user="bob").status == 404
    assert empty.get("/notifications")["total"] == 1


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/mail"), ("DELETE", "/mail?identity=a@b")])
def test_nobody_has_no_subscriptions(empty, method, path) -> None:
    assert empty.ask(method, f"/notifications{path}", user=None, tcp=True).status == 403


@pytest.mark.parametrize(
    ("channel", "body", "status", "words"),
    [
        ("mail", {"identity": "a@example.org\r\nBcc: b@example.org"}, 400, "a mail address like"),
        ("mail", {"identity": "a@example.org", "severity": "huge"}, 400, "low, medium, high"),
        ("mail", {}, 400, "identity"),
        ("mail", {"identity": 7}, 400, "identity"),
        ("mail", [1], 400, "JSON object"),
        ("mail", "{", 400, "not JSON"),
        ("webhook", {"identity": "http://127.0.0.1/x"}, 400, "not allowed on this grid"),
        ("webhook", {"identity": "file:///etc/passwd"}, 400, "web address"),
        ("pigeon", {"identity": "a@b"}, 404, "mail, jabber, webhook"),
    ],
)
def test_what_cannot_be_told_is_refused_with_a_sentence(empty, channel, body, status, words) -> None:
    answer = empty.ask("POST", f"/notifications/{channel}", body)
    assert answer.status == status
    assert words in answer.json()["message"]
    assert empty.get("/notifications")["items"] == []


def test_an_end_without_identity_is_refused(empty) -> None:
    assert "?identity=" in empty.ask("DELETE", "/notifications/mail").json()["message"]
    assert empty.ask("DELETE", "/notifications/mail?identity=%00").status == 404


def test_nobody_has_more_than_a_user_may(empty) -> None:
    for number in range(20):
        assert subscribe(empty, "mail", f"a{number}@example.org").status == 201
    assert "20 subscriptions" in subscribe(empty, "mail", "more@example.org").json()["message"]
    assert subscribe(empty, "mail", "a3@example.org", severity="high").status == 201
    assert subscribe(empty, "mail", "b@example.org", user="bob").status == 201


def test_the_methods_are_told(empty) -> None:
    assert empty.ask("GET", "/notifications/mail").headers["allow"] == "DELETE,POST"
