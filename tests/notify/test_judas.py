"""judas: who is told of what, how often, and what happens when somebody dies."""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cigri.core import vault
from cigri.core.telling import MAX_REFUSALS
from cigri.db import events
from cigri.db.engine import transaction


def subjects(server: Any) -> list[str]:
    return [mail["Subject"] for mail in server.mails]


def until(done: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def obeys(process: subprocess.Popen[Any]) -> bool:
    """Whether it has a handler for SIGTERM already."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def close(town: Any, event_id: int) -> None:
    with transaction(town.engine) as session:
        events.close(session, [event_id])


def test_alike_failures_of_ten_thousand_jobs_are_one_message(town, mail_server) -> None:
    """E13."""
    town.subscribe("alice", "alice@example.org")
    campaign = town.campaign()
    for block in range(100):
        town.fails(campaign, 100, job=7 + block * 100)
    for _ in range(3):
        town.judas.cycle()
    (mail,) = mail_server.mails
    assert mail["Subject"] == f"[CIGRI] campaign {campaign} (sample): 10000 tasks failed: exit code 3"
    assert (mail["To"], mail["From"]) == ("alice@example.org", "cigri@grid.example.org")
    text = mail.get_content()
    for words in (
        "no such sample",
        f"gridstat -c {campaign} -e",
        "gridstat -j 7 -E",
        f"gridevents -c {campaign} -f -r",
    ):
        assert words in text
    assert town.waiting == []


def test_more_of_the_same_waits_for_the_digest(town, mail_server) -> None:
    town.subscribe("alice", "alice@example.org")
    campaign = town.campaign()
    town.fails(campaign, 2)
    town.judas.cycle()
    town.fails(campaign, 5)
    town.fails(campaign, 1, words="exit code 4")
    town.judas.cycle()
    assert len(mail_server.mails) == 1
    town.later(90000)
    town.forget()
    town.judas.cycle()
    town.judas.cycle()
    assert len(mail_server.mails) == 2
    assert "6 more tasks failed" in subjects(mail_server)[1]
    assert "exit code 4" in mail_server.mails[1].get_content()


def test_a_failure_after_the_first_was_dealt_with_is_told_at_once(town, mail_server) -> None:
    town.subscribe("alice", "alice@example.org")
    campaign = town.campaign()
    first = town.fails(campaign)
    town.judas.cycle()
    close(town, first)
    town.fails(campaign)
    town.judas.cycle()
    assert len(mail_server.mails) == 2


def test_each_hears_of_what_is_theirs(town, mail_server) -> None:
    for user in ("alice", "bob", "root"):
        town.subscribe(user, f"{user}@example.org")
    mine = town.campaign("alice")
    town.fails(mine)
    town.happens("TIMEOUT", "no answer for 25 s", cluster_id=1)
    town.happens("TOKEN_EXPIRES_SOON", "your token for tiger", grid_user="bob", cluster_id=1)
    town.judas.cycle()
    told = {mail["To"]: mail["Subject"] for mail in mail_server.mails}
    assert set(told) == {"alice@example.org", "bob@example.org", "root@example.org"}
    assert "failed" in told["alice@example.org"]
    assert told["root@example.org"] == "[CIGRI] cluster tiger: does not answer in time"
    assert "token" in told["bob@example.org"]


def test_only_what_is_grave_enough_is_told(town, mail_server) -> None:
    """E13."""
    town.subscribe("alice", "low@example.org", "low")
    town.subscribe("alice", "medium@example.org", "medium")
    town.subscribe("alice", "high@example.org", "high")
    campaign = town.campaign()
    town.happens("NEW_CAMPAIGN", "sample", campaign_id=campaign)
    town.happens("CIGRI_WALLTIME", "over its walltime", campaign_id=campaign, cluster_id=1, job_id=7)
    town.happens("FINISHED_CAMPAIGN", "campaign finished", campaign_id=campaign)
    town.fails(campaign)
    town.judas.cycle()
    got: dict[str, int] = {}
    for mail in mail_server.mails:
        got[mail["To"].split("@")[0]] = got.get(mail["To"].split("@")[0], 0) + 1
    assert got == {"low": 4, "medium": 3, "high": 2}


def test_many_topics_are_one_digest(town, mail_server) -> None:
    town.subscribe("alice", "alice@example.org")
    ids = [town.campaign(name=f"sample {number}") for number in range(8)]
    for campaign in ids:
        town.happens("FINISHED_CAMPAIGN", "campaign finished", campaign_id=campaign)
    town.judas.cycle()
    (mail,) = mail_server.mails
    assert mail["Subject"] == "[CIGRI] 8 messages about 8 campaigns"
    assert all(f"campaign {campaign} (sample" in mail.get_content() for campaign in ids)


def test_what_goes_back_by_itself_is_never_told(town, mail_server) -> None:
    town.subscribe("alice", "alice@example.org")
    campaign = town.campaign()
    town.happens("RESUBMIT", "preempted", campaign_id=campaign, cluster_id=1, count=50)
    town.judas.cycle()
    assert mail_server.mails == []
    assert town.sql("SELECT count(*) FROM events WHERE notified_at IS NULL") == [(0,)]


def test_a_hiccup_that_healed_before_it_was_told_is_not(town, mail_server) -> None:
    town.subscribe("root", "root@example.org")
    town.set(notifications_gathering_delay=60.0)
    event = town.happens("TIMEOUT", "no answer", cluster_id=1)
    town.judas.cycle()
    close(town, event)
    town.sql("UPDATE events SET date_open = date_open - interval '2 minutes'")
    town.judas.cycle()
    assert mail_server.mails == []


def test_a_flapping_cluster_is_told_once_per_period_and_another_one_for_itself(town, mail_server) -> None:
    town.subscribe("root", "root@example.org")
    for _ in range(5):
        event = town.happens("TIMEOUT", "no answer", cluster_id=1)
        town.judas.cycle()
        close(town, event)
    town.happens("TIMEOUT", "no answer", cluster_id=2)
    town.judas.cycle()
    assert subjects(mail_server) == [
        "[CIGRI] cluster tiger: does not answer in time",
        "[CIGRI] cluster lion: does not answer in time",
    ]


def test_events_are_gathered_before_the_first_is_told(town, mail_server) -> None:
    town.subscribe("alice", "alice@example.org")
    town.set(notifications_gathering_delay=1.0)
    campaign = town.campaign()
    town.fails(campaign, 3)
    town.judas.cycle()
    assert mail_server.mails == []
    town.fails(campaign, 4)
    time.sleep(1.05)
    town.judas.cycle()
    assert "7 tasks failed" in subjects(mail_server)[0]


def test_the_administrator_is_reminded_daily_of_open_blacklists(town, mail_server) -> None:
    town.subscribe("root", "root@example.org")
    campaign = town.campaign("alice", "forgotten")
    town.happens("CLUSTER_MANUALLY_DISABLED", "works in the machine room", cluster_id=2)
    town.happens("RUNNER_SUBMIT_ERROR", "bad properties", campaign_id=campaign, cluster_id=1)
    town.judas.cycle()
    before = len(mail_server.mails)
    town.sql("UPDATE events SET date_open = date_open - interval '3 days 1 hour', notified_at = now()")
    for _ in range(2):
        town.forget()
        town.judas.cycle()
    (mail,) = mail_server.mails[before:]
    assert mail["Subject"] == "[CIGRI] reminder: 2 blacklists are still open"
    text = mail.get_content()
    assert "cluster lion, for 3 days" in text and "works in the machine room" in text
    assert f"campaign {campaign} (forgotten) of alice on cluster tiger" in text
    town.later(86500)
    town.forget()
    town.judas.cycle()
    assert len(mail_server.mails) == before + 2


def test_the_queue_survives_a_server_that_is_away(town, mail_server, caplog) -> None:
    caplog.set_level(logging.WARNING)
    town.subscribe("alice", "alice@example.org")
    campaign = town.campaign()
    mail_server.stop()
    town.fails(campaign)
    for _ in range(3):
        town.judas.cycle()
    town.happens("RUNNER_SUBMIT_ERROR", "bad properties", campaign_id=campaign, cluster_id=1)
    town.judas.cycle()
    assert len(town.waiting) == 2
    assert len([line for line in caplog.messages if "messages wait" in line]) == 1
    mail_server.start()
    town.forget()
    town.judas.cycle()
    assert len(mail_server.mails) == 2
    assert town.waiting == []


def test_a_recipient_who_is_refused_is_given_up_after_some_tries_and_keeps_nobody(town, mail_server, caplog) -> None:
    town.subscribe("alice", "alice@example.org")
    campaign = town.campaign()
    mail_server.set("refuse")
    town.fails(campaign)
    for _ in range(6):
        town.judas.cycle()
        town.later(3700)
    assert town.waiting == []
    assert "given up" in caplog.text and "550 no such user here" in caplog.text
    assert town.sql("SELECT message FROM events WHERE code = 'JUDAS_FAILED' AND state = 'open'")
    mail_server.set("refuse", on=False)
    town.subscribe("root", "root@example.org")
    town.judas.cycle()
    assert mail_server.mails[0]["To"] == "root@example.org"


def test_what_is_refused_for_now_is_tried_again(town, mail_server) -> None:
    town.subscribe("alice", "alice@example.org")
    mail_server.set("later")
    town.fails(town.campaign())
    town.judas.cycle()
    mail_server.set("later", on=False)
    town.judas.cycle()
    assert mail_server.mails == [] and len(town.waiting) == 1
    town.later(31)
    town.judas.cycle()
    assert len(mail_server.mails) == 1


def test_after_some_days_a_message_is_given_up_with_a_line_in_the_log(town, mail_server, caplog) -> None:
    town.subscribe("alice", "alice@example.org")
    mail_server.stop()
    town.fails(town.campaign())
    town.judas.cycle()
    town.later(5 * 86400 + 10)
    town.forget()
    town.judas.cycle()
    assert town.waiting == []
    assert "a message to alice by mail is given up, not delivered for 5 days" in caplog.text


def test_who_unsubscribes_gets_nothing_that_waited(town, mail_server) -> None:
    town.subscribe("alice", "alice@example.org")
    mail_server.stop()
    town.fails(town.campaign())
    town.judas.cycle()
    town.sql("DELETE FROM subscriptions")
    mail_server.start()
    town.forget()
    town.judas.cycle()
    assert mail_server.mails == [] and town.waiting == []


def test_webhooks_and_mail_are_told_alike_and_a_dead_webhook_keeps_nobody(town, mail_server, receiver) -> None:
    town.subscribe("alice", "alice@example.org")
    town.subscribe("alice", f"{receiver.url}/hooks/abc", channel="webhook")
    town.subscribe("alice", "http://127.0.0.1:1/hooks/dead", channel="webhook")
    campaign = town.campaign()
    town.fails(campaign)
    town.judas.cycle()
    ((path, body),) = receiver.posts
    assert path == "/hooks/abc"
    assert f"campaign {campaign} (sample): 1 task failed" in body["text"]
    assert len(mail_server.mails) == 1
    assert len(town.waiting) == 1


def test_a_webhook_that_was_sealed_with_a_key_that_is_gone_keeps_nobody(town, receiver) -> None:
    key = Path(town.settings.token_key_file)
    town.subscribe("bob", f"{receiver.url}/hooks/old", channel="webhook")
    key.unlink()
    vault.create_key_file(str(key))
    town.subscribe("alice", f"{receiver.url}/hooks/abc", channel="webhook")
    for user in ("bob", "alice"):
        town.fails(town.campaign(user))
    town.judas.cycle()
    assert [path for path, _ in receiver.posts] == ["/hooks/abc"]
    for _ in range(MAX_REFUSALS):
        town.later(86400)
        town.judas.cycle()
    assert town.waiting == [] and town.sql("SELECT count(*) FROM events WHERE code = 'JUDAS_FAILED'") == [(1,)]


def test_judas_killed_while_the_mail_server_has_the_mail_repeats_it_under_the_same_id(
    town, mail_server, tmp_path
) -> None:
    town.subscribe("alice", "alice@example.org")
    town.fails(town.campaign())
    mail_server.set("hang")
    process = town.process(tmp_path)
    until(lambda: mail_server.mails)
    process.kill()
    process.wait()
    mail_server.set("hang", on=False)
    assert len(town.waiting) == 1
    town.judas.cycle()
    first, second = mail_server.mails
    assert first["Message-ID"] == second["Message-ID"]
    assert town.waiting == []
    town.judas.cycle()
    assert len(mail_server.mails) == 2


def test_judas_killed_again_and_again_tells_everything_once(town, mail_server, tmp_path) -> None:
    town.subscribe("alice", "alice@example.org")
    told = []
    process = town.process(tmp_path)
    for number in range(6):
        told.append(town.campaign(name=f"sample {number}"))
        town.happens("FINISHED_CAMPAIGN", "campaign finished", campaign_id=told[-1])
        time.sleep(0.05 + 0.09 * number)
        process.kill()
        process.wait()
        process = town.process(tmp_path)
    until(lambda: not town.waiting and not town.sql("SELECT 1 FROM events WHERE notified_at IS NULL"))
    until(lambda: obeys(process))
    process.terminate()
    assert process.wait(10) == 0
    by_id = {mail["Message-ID"]: mail.get_content() for mail in mail_server.mails}
    for campaign in told:
        assert len([text for text in by_id.values() if f"campaign {campaign} (" in text.lower()]) == 1
