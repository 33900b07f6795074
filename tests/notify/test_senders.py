"""Mail and webhooks through real sockets; XMPP as far as it goes without a server."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import socket
import subprocess
import sys
import time

import pytest

from cigri.config import Settings
from cigri.core.telling import Channel, Letter
from cigri.notify.base import NotDelivered, ServerAway
from cigri.notify.channels import missing, senders
from cigri.notify.mail import MailSender, MailServer
from cigri.notify.webhook import WebhookSender, payload
from cigri.notify.xmpp import XmppAccount, XmppSender

LETTER = Letter(
    1, "alice@example.org", "<cigri.1@example.org>", "campaign 7 (é): failed", "accents é\n.\nend\n", "alice"
)


def secure(server, pem, **changes):
    whole = MailServer(
        "127.0.0.1", server.port, "starttls", str(pem), "grid", "s3cret", "Grid <cigri@example.org>", "[G]"
    )
    return MailSender(dataclasses.replace(whole, **changes))


@pytest.fixture
def pem(repository):
    return repository / "tests" / "clusters" / "tls" / "localhost.pem"


def test_mail_goes_over_starttls_with_a_login(tls_server, pem) -> None:
    tls_server.clear()
    results = list(secure(tls_server, pem).deliver([LETTER, dataclasses.replace(LETTER, id=2, body="two\n")]))
    assert [failure for _, failure in results] == [None, None]
    first, second = tls_server.mails
    assert first["Subject"] == "[G] campaign 7 (é): failed"
    assert first["From"] == "Grid <cigri@example.org>"
    assert first["Message-ID"] == "<cigri.1@example.org>"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first.get_content().replace("\r", "") == "accents é\n.\nend\n"
    assert second.get_content().strip() == "two"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "wrong"}, "refuses the login of grid"),
        ({"ca_file": ""}, "CERTIFICATE_VERIFY_FAILED"),
        ({"host": "localhost"}, "CERTIFICATE_VERIFY_FAILED"),
        ({"tls": "none"}, "no password is sent in clear"),
        ({"tls": "ssl"}, "WRONG_VERSION_NUMBER"),
        ({"port": 1}, "refused"),
    ],
)
def test_a_server_that_cannot_be_trusted_gets_nothing(tls_server, pem, changes, words) -> None:
    tls_server.clear()
    with pytest.raises(ServerAway, match=words) as trouble:
        list(secure(tls_server, pem, **changes).deliver([LETTER]))
    assert "s3cret" not in str(trouble.value)
    assert tls_server.mails == []


def test_a_letter_that_is_no_mail_does_not_keep_the_others(mail_server) -> None:
    sender = MailSender(MailServer("127.0.0.1", mail_server.port))
    broken = dataclasses.replace(LETTER, subject="one\nBcc: everybody@example.org")
    (_, failure), (_, good) = sender.deliver([broken, LETTER])
    assert isinstance(failure, NotDelivered) and failure.refused
    assert good is None
    assert len(mail_server.mails) == 1


def test_a_server_that_dies_in_between_has_taken_what_it_said_that_it_took(mail_server) -> None:
    results = []

    def letters():
        yield LETTER
        mail_server.stop()
        yield LETTER

    with pytest.raises(ServerAway):
        results.extend(MailSender(MailServer("127.0.0.1", mail_server.port)).deliver(letters()))
    assert len(mail_server.mails) == 1


def hook(url: str) -> Letter:
    return dataclasses.replace(LETTER, to=url)


def post(letter, **options):
    ((_, failure),) = WebhookSender(options.pop("hosts", ("127.0.0.1",)), **options).deliver([letter])
    return failure


def test_a_webhook_gets_the_json_that_slack_and_mattermost_read(receiver) -> None:
    assert post(hook(f"{receiver.url}/hooks/a?b=c")) is None
    ((path, body),) = receiver.posts
    assert path == "/hooks/a?b=c"
    assert body["text"].startswith("*campaign 7 (é): failed*\naccents é")


def test_certificates_of_webhooks_are_verified(secure_receiver, pem, monkeypatch) -> None:
    failure = post(hook(f"{secure_receiver.url}/x"))
    assert failure is not None and "CERTIFICATE_VERIFY_FAILED" in str(failure)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    assert post(hook(f"{secure_receiver.url}/x")) is None
    assert [path for path, _ in secure_receiver.posts] == ["/x"]


def test_nothing_in_a_message_calls_a_channel_or_makes_a_link() -> None:
    letter = dataclasses.replace(LETTER, body="<!channel> @all <http://x|y> a&b")
    text = json.loads(payload(letter))["text"]
    assert "<" not in text and "@all" not in text and "a&amp;b" in text


@pytest.mark.parametrize(("answer", "refused"), [(404, True), (400, True), (500, False), (503, False), (429, False)])
def test_what_a_webhook_answers(receiver, answer, refused) -> None:
    receiver.answer = answer
    failure = post(hook(f"{receiver.url}/x"))
    assert failure.refused is refused and str(answer) in str(failure)


def test_a_redirect_is_not_followed(receiver) -> None:
    receiver.answer = 307
    receiver.headers = {"Location": f"{receiver.url}/elsewhere"}
    failure = post(hook(f"{receiver.url}/x"))
    assert failure.refused and "redirects" in str(failure)
    assert [path for path, _ in receiver.posts] == ["/x"]


def test_a_server_that_drips_is_cut_off(receiver) -> None:
    receiver.drip = True
    began = time.monotonic()
    failure = post(hook(f"{receiver.url}/x"), timeout=0.5)
    assert time.monotonic() - began < 5
    assert failure is not None and not failure.refused


def test_a_host_that_does_not_answer_is_waited_for_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        began = time.monotonic()
        results = list(WebhookSender(("127.0.0.1",), 0.5).deliver([hook(url), hook(url), hook(url)]))
    assert time.monotonic() - began < 2
    assert all(failure is not None and not failure.refused for _, failure in results)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_without_a_list_what_listens_here_only_is_not_reached(receiver, host) -> None:
    failure = post(hook(receiver.url.replace("127.0.0.1", host) + "/x"), hosts=())
    assert failure is not None
    assert receiver.posts == []


def test_with_a_list_nothing_else_is_reached(receiver) -> None:
    failure = post(hook(f"{receiver.url}/x"), hosts=("*.example.org",))
    assert failure.refused and "not allowed" in str(failure)
    assert receiver.posts == []


def test_xmpp_without_slixmpp_says_what_to_install(tmp_path) -> None:
    (tmp_path / "slixmpp.py").write_text("raise ImportError('not here')\n")
    program = (
        "from cigri.notify.xmpp import *\n"
        "from cigri.core.telling import Letter\n"
        "letter = Letter(1, 'a@b', '<1@b>', 's', 'b', 'alice')\n"
        "list(XmppSender(XmppAccount('127.0.0.1', 1, 'grid@localhost', 'x')).deliver([letter]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}, timeout=60
    )
    assert "ServerAway" in done.stderr and "pip install 'cigri[xmpp]'" in done.stderr


@pytest.mark.skipif(importlib.util.find_spec("slixmpp") is None, reason="slixmpp is not installed")
def test_an_xmpp_server_that_is_not_there_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    sender = XmppSender(XmppAccount("127.0.0.1", port, "grid@localhost", "x"))
    with pytest.raises(ServerAway, match="127.0.0.1"):
        list(sender.deliver([dataclasses.replace(LETTER, to="alice@localhost")]))


def test_only_what_is_configured_is_there() -> None:
    assert set(senders(Settings())) == {Channel.WEBHOOK}
    assert "NOTIFICATIONS_SMTP_SERVER" in missing(Settings(), Channel.MAIL)
    assert "NOTIFICATIONS_XMPP_SERVER" in missing(Settings(), Channel.JABBER)
    assert missing(Settings(), Channel.WEBHOOK) == ""
    assert missing(Settings(notifications_smtp_server="x"), Channel.MAIL) == ""
    assert "s3cret" not in repr(senders(Settings(notifications_smtp_server="x", notifications_smtp_password="s3cret")))
