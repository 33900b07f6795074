"""Events: alike ones are one line with a count, blacklists live and die with their cause, healing is tried again."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from cigri.core.events import BLACKLIST, MEANINGS
from cigri.core.states import EventState
from cigri.db import events
from cigri.db.events import MAX_PROBE_DELAY, MESSAGE_LENGTH, News
from cigri.db.tables import Event


@pytest.fixture
def cluster(books):
    return books.cluster()


@pytest.fixture
def campaign(books, cluster):
    return books.campaign([cluster])


def record(books, *args, **known):
    with books.transaction() as session:
        return events.record(session, News(*args, **known))


def close(books, *ids):
    with books.transaction() as session:
        return events.close(session, ids)


def blacklisted(books, cluster_id, campaign_id=None):
    with books.transaction() as session:
        return session.scalar(select(events.blacklisted(cluster_id, campaign_id)))


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_every_code_can_be_recorded(books, cluster, campaign, code):
    record(books, code, "words", campaign, cluster)
    sense, event = MEANINGS[code], books.events(code)[0]
    assert (event.class_.value, event.state is EventState.CLOSED) == (sense.scope.value, sense.passing)
    assert blacklisted(books, cluster, campaign) == (sense.blacklists is not None)
    assert blacklisted(books, cluster) == (sense.blacklists is not None and sense.blacklists.value == "cluster")


def test_an_unknown_code_is_refused(books):
    with pytest.raises(KeyError):
        record(books, "NO_SUCH_CODE")


def test_alike_ones_are_one(books, cluster, campaign):
    first = record(books, "EXIT_ERROR", "first", campaign, cluster, 1, 3, 3, "exit code 1")
    assert record(books, "EXIT_ERROR", "second", campaign, cluster, 7, alike="exit code 1") == first
    event = books.events("EXIT_ERROR")[0]
    assert (event.count, event.job_id, event.last_job_id, event.message) == (4, 1, 7, "first")


@pytest.mark.parametrize("differs", ["code", "campaign", "cluster", "alike"])
def test_others_are_others(books, cluster, campaign, differs):
    record(books, "EXIT_ERROR", "", campaign, cluster, alike="x")
    known = {"code": "EXIT_ERROR", "campaign_id": campaign, "cluster_id": cluster, "alike": "x"}
    other = {"code": ("code", "USER_FRAG"), "campaign": ("campaign_id", books.campaign([cluster])),
             "cluster": ("cluster_id", books.cluster("other")), "alike": ("alike", "y")}  # fmt: skip
    name, value = other[differs]
    record(books, **{**known, name: value})
    assert len(books.events("EXIT_ERROR")) + len(books.events("USER_FRAG")) == 2


def test_what_is_closed_is_over_and_the_next_is_new(books, cluster):
    first = record(books, "TIMEOUT", cluster_id=cluster)
    assert close(books, first) == {first} and close(books, first) == set()
    second = record(books, "TIMEOUT", cluster_id=cluster)
    assert second != first and [event.count for event in books.events("TIMEOUT")] == [1, 1]


def test_a_blacklist_ends_with_its_cause(books, cluster, campaign):
    cause = record(books, "TIMEOUT", cluster_id=cluster)
    assert blacklisted(books, cluster) and blacklisted(books, cluster, campaign)
    assert close(books, cause) == {cause} and not blacklisted(books, cluster)
    assert {event.state for event in books.events(BLACKLIST)} == {EventState.CLOSED}


def test_two_causes_two_blacklists(books, cluster):
    one, two = record(books, "TIMEOUT", cluster_id=cluster), record(books, "CONNECTION_REFUSED", cluster_id=cluster)
    close(books, one)
    assert blacklisted(books, cluster)
    close(books, two)
    assert not blacklisted(books, cluster)


def test_the_same_cause_again_is_one_blacklist(books, cluster):
    cause = [record(books, "TIMEOUT", cluster_id=cluster) for _ in range(3)]
    assert len(books.events(BLACKLIST)) == 1
    close(books, cause[0])
    assert not blacklisted(books, cluster)


def test_a_campaign_is_blacklisted_on_one_cluster(books, cluster, campaign):
    other = books.cluster("other")
    record(books, "RUNNER_SUBMIT_ERROR", "", campaign, cluster)
    assert blacklisted(books, cluster, campaign) and not blacklisted(books, other, campaign)
    assert not blacklisted(books, cluster) and not blacklisted(books, cluster, books.campaign([cluster]))
    with books.transaction() as session:
        assert not events.is_blacklisted(session, cluster)


def test_closing_other_children_is_left_alone(books, cluster, campaign):
    """Only blacklists end with their parent."""
    parent = record(books, "UNDER_STRESS", cluster_id=cluster)
    child = books.insert(Event, class_="job", code="EXIT_ERROR", parent=parent, campaign_id=campaign)
    close(books, parent)
    with books.transaction() as session:
        assert session.get_one(Event, child).state is EventState.OPEN


def test_many_at_once_record_one(books, cluster, campaign):
    threads = [
        threading.Thread(target=record, args=(books, "RUNNER_SUBMIT_ERROR", "", campaign, cluster)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.count for event in books.events("RUNNER_SUBMIT_ERROR")] == [8]
    assert [event.count for event in books.events(BLACKLIST)] == [8]


def test_closing_meanwhile_begins_a_new_one(books, cluster, other_engine):
    """Recorded while somebody closes: it is either counted in what is closed, or stands alone, never lost."""
    first = record(books, "TIMEOUT", cluster_id=cluster)
    found = []
    thread = threading.Thread(
        target=lambda: found.append(record(type(books)(other_engine), "TIMEOUT", cluster_id=cluster))
    )
    with books.transaction() as session:
        events.close(session, [first])
        thread.start()
        thread.join(0.15)
        assert thread.is_alive()
    thread.join()
    assert found[0] != first and blacklisted(books, cluster)


def test_messages_are_kept_short_and_printable(books, cluster):
    record(books, "TIMEOUT", "a\0b" + "x" * 10000, cluster_id=cluster)
    message = books.events("TIMEOUT")[0].message
    assert message.startswith("a\ufffdb") and len(message) == MESSAGE_LENGTH


def test_what_heals_by_itself_is_looked_at_ever_more_seldom(books, cluster):
    cause = record(books, "TIMEOUT", cluster_id=cluster, probe_delay=timedelta(seconds=100))
    delays = []
    for _ in range(5):
        with books.transaction() as session:
            assert events.due_probes(session, cluster) == []
            events.put_off(session, [cause])
        delays.append(books.events("TIMEOUT")[0].probe_delay.total_seconds())
    assert delays == [200, 400, 600, 600, 600] and timedelta(seconds=600) == MAX_PROBE_DELAY
    books.update(Event, cause, probe_at=text("now()"))
    with books.transaction() as session:
        assert [event.id for event in events.due_probes(session, cluster)] == [cause]
        assert events.due_probes(session, cluster + 1) == []
    close(books, cause)
    with books.transaction() as session:
        assert events.due_probes(session, cluster) == []


def test_what_does_not_heal_by_itself_is_not_probed(books, cluster):
    record(books, "CLUSTER_MANUALLY_DISABLED", cluster_id=cluster, probe_delay=timedelta(0))
    assert books.events("CLUSTER_MANUALLY_DISABLED")[0].probe_at is None


def test_stress_is_forgotten_when_it_is_over(books, cluster):
    with books.transaction() as session:
        assert not events.forget(session, "UNDER_STRESS", of=[cluster])
    record(books, "UNDER_STRESS", cluster_id=cluster)
    with books.transaction() as session:
        assert events.forget(session, "UNDER_STRESS", of=[cluster])
        assert not events.forget(session, "UNDER_STRESS", of=[cluster])
