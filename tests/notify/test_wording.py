"""The words of the messages, and who may be told where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cigri.core.events import MEANINGS, Heals, Meaning, Scope, Severity
from cigri.core.telling import (
    LONGEST_DELAY,
    Blacklist,
    Channel,
    Happening,
    Letter,
    Subject,
    Telling,
    Topic,
    codes,
    retry_delay,
    telling,
    topics,
    wanted,
)
from cigri.notify import wording
from cigri.notify.identities import address_allowed, checked, host_allowed
from cigri.notify.mail import MailSender, MailServer

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CAMPAIGN = Subject(12, "sample", "alice", 100, 60, 40, 0)


def happening(code: str = "EXIT_ERROR", message: str = "exit code 3", **more) -> Happening:
    facts = {"count": 1, "more": 1, "told_before": False, "opened": NOW, "campaign": CAMPAIGN, "cluster": "tiger"}
    return Happening(code, message, **(facts | more))


def only(*happenings: Happening) -> wording.Message:
    (found,) = topics(happenings).values()
    (message,) = wording.messages(found)
    return message


@pytest.mark.parametrize("code", sorted(set(MEANINGS) - set(codes(Telling.NEVER))))
@pytest.mark.parametrize("campaign", [CAMPAIGN, None])
def test_every_code_that_is_told_has_words_without_gaps(code, campaign) -> None:
    message = only(happening(code, campaign=campaign, job_id=5))
    assert message.subject and "{" not in message.subject + message.body
    if campaign:
        assert "campaign 12 (sample)" in message.subject


def test_a_failure_says_what_happened_to_which_campaign_and_what_to_type() -> None:
    message = only(happening(count=9998, more=9998, message="exit code 3\nno such sample", job_id=5, last_job_id=900))
    assert message.subject == "campaign 12 (sample): 9998 tasks failed: exit code 3"
    for words in ("first job 5, last job 900", "    no such sample", "gridstat -c 12 -e", "gridstat -j 5 -E"):
        assert words in message.body


def test_the_end_of_a_campaign_has_its_balance() -> None:
    message = only(happening("FINISHED_CAMPAIGN", "campaign finished"))
    assert message.subject == "campaign 12 (sample): finished, 40 of 100 tasks failed"
    assert "Of 100 tasks 60 succeeded, 40 failed, 0 cancelled." in message.body


def test_a_long_list_is_cut() -> None:
    message = only(*(happening(message=f"exit code {number}") for number in range(200)))
    assert "200 tasks failed" in message.subject
    assert "... and 190 more of this kind" in message.body


def test_a_digest_of_very_many_stays_readable() -> None:
    found = [Topic("FINISHED_CAMPAIGN", Severity.LOW, Subject(n, "x", "a", 1, 1, 0, 0), ()) for n in range(500)]
    message = wording.digest(found)
    assert message.subject == "500 messages about 500 campaigns"
    assert len(message.body) < 20_000 and "470 more" in message.body


def test_the_gravest_comes_first() -> None:
    found = topics([happening("NEW_CAMPAIGN"), happening("CIGRI_WALLTIME"), happening()])["alice"]
    assert [topic.severity for topic in found] == [Severity.HIGH, Severity.MEDIUM, Severity.LOW]


def test_a_reminder_names_what_is_forgotten() -> None:
    black = Blacklist("TIMEOUT", "no answer", "lion", NOW - timedelta(days=93), 77)
    message = wording.reminder([black], NOW)
    assert message.subject == "reminder: 1 blacklist is still open"
    assert "cluster lion, for 93 days: event 77, TIMEOUT" in message.body


@given(st.text(max_size=300), st.text(max_size=300))
def test_whatever_a_campaign_is_called_the_mail_has_the_headers_it_should_have(name, message) -> None:
    subject = Subject(12, name, "alice", 1, 0, 1, 0)
    text = only(happening(campaign=subject, message=message))
    letter = Letter(1, "alice@example.org", "<1@example.org>", text.subject, text.body, "alice")
    mail = MailSender(MailServer("localhost", sender="cigri@example.org", tag="[CIGRI]")).message(letter)
    raw = mail.as_bytes()
    headers = {line.split(b":")[0].lower() for line in raw.split(b"\r\n\r\n")[0].split(b"\r\n") if line[:1].strip()}
    known = {b"from", b"to", b"subject", b"date", b"message-id", b"auto-submitted"}
    assert headers <= known | {b"content-type", b"content-transfer-encoding", b"mime-version"}


@pytest.mark.parametrize(
    ("channel", "identity"),
    [
        (Channel.MAIL, "alice@example.org"),
        (Channel.MAIL, "a.b+grid@mail.example.org"),
        (Channel.MAIL, "root@localhost"),
        (Channel.JABBER, "alice@jabber.example.org"),
        (Channel.JABBER, "alice@jabber.example.org/home"),
        (Channel.WEBHOOK, "https://hooks.slack.com/services/T0/B0/xyz"),
        (Channel.WEBHOOK, "http://chat.example.org:8065/hooks/abc?x=1"),
        (Channel.WEBHOOK, "http://[2001:db8::1]/hooks"),
    ],
)
def test_good_identities(channel, identity) -> None:
    assert checked(channel, f" {identity} ") == identity


@pytest.mark.parametrize(
    ("channel", "identity"),
    [
        (Channel.MAIL, ""),
        (Channel.MAIL, "alice"),
        (Channel.MAIL, "-oQ/tmp@example.org"),
        (Channel.MAIL, "a@example.org\r\nBcc: b@example.org"),
        (Channel.MAIL, "a@example.org,b@example.org"),
        (Channel.MAIL, "a b@example.org"),
        (Channel.MAIL, "é@example.org"),
        (Channel.MAIL, "<a@example.org>"),
        (Channel.MAIL, f"{'a' * 300}@example.org"),
        (Channel.JABBER, "alice"),
        (Channel.JABBER, "a@b/c\nd"),
        (Channel.WEBHOOK, "ftp://example.org/x"),
        (Channel.WEBHOOK, "file:///etc/passwd"),
        (Channel.WEBHOOK, "https://"),
        (Channel.WEBHOOK, "https://user:pw@example.org/x"),
        (Channel.WEBHOOK, "https://example.org/a b"),
        (Channel.WEBHOOK, "https://example.org/\r\nHost: x"),
        (Channel.WEBHOOK, "https://example.org:99999/x"),
        (Channel.WEBHOOK, "https://[::1"),
    ],
)
def test_bad_identities(channel, identity) -> None:
    with pytest.raises(ValueError, match="expected"):
        checked(channel, identity)


def test_hosts_of_webhooks() -> None:
    assert host_allowed("chat.example.org", ()) and host_allowed("10.1.2.3", ())
    assert not host_allowed("127.0.0.1", ()) and not host_allowed("169.254.169.254", ())
    assert host_allowed("Chat.Example.org", ("*.example.org",)) and not host_allowed("example.com", ("*.example.org",))
    assert not host_allowed("chat.example.org", ("none",))
    assert not address_allowed("::1") and not address_allowed("fe80::1%eth0") and address_allowed("2001:db8::1")


def test_how_often_kinds_of_events_are_told() -> None:
    assert telling(MEANINGS["EXIT_ERROR"]) is Telling.WHILE_OPEN
    assert telling(MEANINGS["TIMEOUT"]) is Telling.SPARINGLY
    assert telling(MEANINGS["UNDER_STRESS"]) is Telling.SPARINGLY
    assert telling(MEANINGS["CLUSTER_MANUALLY_DISABLED"]) is Telling.WHILE_OPEN
    assert telling(MEANINGS["RESUBMIT"]) is Telling.NEVER
    assert telling(MEANINGS["FINISHED_CAMPAIGN"]) is Telling.EACH
    assert telling(Meaning(Scope.CAMPAIGN, Severity.HIGH, Scope.CAMPAIGN, Heals.AFTER_DELAY)) is Telling.SPARINGLY


def test_severities_and_delays() -> None:
    assert wanted(Severity.HIGH, Severity.LOW) and not wanted(Severity.LOW, Severity.MEDIUM)
    delays = [retry_delay(tries) for tries in range(60)]
    assert delays == sorted(delays) and delays[-1] == LONGEST_DELAY
