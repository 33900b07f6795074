"""A campaign ends when nothing is left to do, and never while something is being added to it."""

from __future__ import annotations

import threading

import pytest

from cigri.core.states import CampaignState
from cigri.db import campaigns, endings
from cigri.db.campaigns import WrongState


@pytest.fixture
def cluster(books):
    return books.cluster()


def terminate(books):
    with books.transaction() as session:
        return endings.terminate_finished(session)


def done(books, cluster, campaign, tasks):
    books.finish(cluster, dict.fromkeys(books.submit(cluster, campaign, tasks), books.success))


def test_not_while_something_is_left(books, cluster):
    pending = books.campaign([cluster], 2)
    done(books, cluster, pending, 1)
    running = books.campaign([cluster], 2)
    jobs = books.submit(cluster, running, 2)
    books.finish(cluster, {jobs[0]: books.success})
    sending = books.campaign([cluster], 1)
    books.allow(cluster, sending, 1)
    books.claim(cluster, sending)
    assert terminate(books) == []


def test_done_and_failed_alike(books, cluster):
    campaign = books.campaign([cluster], 2)
    one, other = books.submit(cluster, campaign, 2)
    books.finish(cluster, {one: books.success, other: books.failed})
    assert terminate(books) == [campaign] and terminate(books) == []
    assert books.state(campaign) is CampaignState.TERMINATED
    assert [event.campaign_id for event in books.events("FINISHED_CAMPAIGN")] == [campaign]


def test_paused_and_cancelled_ones_are_left(books, cluster):
    paused, cancelled = books.campaign([cluster], 1), books.campaign([cluster], 1)
    done(books, cluster, paused, 1)
    with books.transaction() as session:
        campaigns.pause(session, paused)
        campaigns.cancel(session, cancelled)
    assert terminate(books) == []


def test_tasks_may_be_added_afterwards(books, cluster):
    campaign = books.campaign([cluster], 1)
    done(books, cluster, campaign, 1)
    terminate(books)
    with books.transaction() as session:
        campaigns.add_tasks(session, campaign, ["more"], 1)
    assert books.state(campaign) is CampaignState.IN_TREATMENT and terminate(books) == []
    done(books, cluster, campaign, 1)
    assert terminate(books) == [campaign]


def test_not_when_tasks_are_being_added(books, cluster, other_engine):
    """Found finished, then locked by who adds: looked at again under the lock."""
    campaign = books.campaign([cluster], 1)
    done(books, cluster, campaign, 1)
    ended = []
    thread = threading.Thread(target=lambda: ended.append(terminate(type(books)(other_engine))))
    with books.transaction() as session:
        campaigns.add_tasks(session, campaign, ["more"], 1)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join()
    assert ended == [[]] and books.state(campaign) is CampaignState.IN_TREATMENT


def test_who_adds_waits_for_the_end_and_opens_it_again(books, cluster, other_engine):
    campaign = books.campaign([cluster], 1)
    done(books, cluster, campaign, 1)

    def add():
        with type(books)(other_engine).transaction() as session:
            campaigns.add_tasks(session, campaign, ["more"], 1)

    thread = threading.Thread(target=add)
    with books.transaction() as session:
        assert endings.terminate_finished(session) == [campaign]
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join()
    assert books.state(campaign) is CampaignState.IN_TREATMENT


def test_what_is_over_stays_over(books, cluster):
    cancelled, ended = books.campaign([cluster], 1), books.campaign([cluster], 1)
    done(books, cluster, ended, 1)
    terminate(books)
    with books.transaction() as session:
        campaigns.cancel(session, cancelled)
    for campaign, changes in ((cancelled, (campaigns.cancel, campaigns.pause, campaigns.resume)),
                              (ended, (campaigns.cancel, campaigns.pause, campaigns.resume))):  # fmt: skip
        for change in changes:
            with pytest.raises(WrongState), books.transaction() as session:
                change(session, campaign)
    with pytest.raises(WrongState), books.transaction() as session:
        campaigns.add_tasks(session, cancelled, ["more"], 1)
