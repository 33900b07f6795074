"""Virtual times in the database: charged once, kept, forgotten with their campaigns."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from cigri.core.ledger import Account, Charge, Ledger, UserAccount
from cigri.db import campaigns, jobs, shares
from cigri.db.tables import CampaignShare


@pytest.fixture
def cluster(books):
    return books.cluster()


def take(books):
    with books.transaction() as session:
        return shares.take_charges(session)


def read(books, cluster, half_life=3600.0) -> Ledger:
    with books.transaction() as session:
        return shares.read(session, [cluster], half_life).of_cluster[cluster]


def change(books, cluster, ledger):
    """Write this ledger over whatever there was."""
    with books.transaction() as session:
        found = shares.read(session, [cluster], 3600.0)
        found.of_cluster[cluster] = ledger
        shares.write(session, found)


def test_what_ended_jobs_used_is_charged_once(books, cluster):
    campaign = books.campaign([cluster], 9)
    there = books.submit(cluster, campaign, 3)
    assert take(books) == {}
    books.finish(cluster, {there[0]: books.success, there[1]: books.failed}, start_time=100.0, stop_time=130.0)
    assert take(books) == {cluster: [Charge(campaign, "alice", 60.0)]}
    assert take(books) == {}
    books.finish(cluster, {there[2]: books.success})
    assert take(books) == {cluster: [Charge(campaign, "alice", 1.0)]}, "no start was seen: the least"


def test_preempted_work_is_charged_as_configured(books, cluster):
    campaign = books.campaign([cluster], 9)
    there = books.submit(cluster, campaign, 2)
    with books.transaction(cluster) as session:
        end = jobs.End(there[0], books.preempted, start_time=100.0, stop_time=200.0, resources=4)
        jobs.finish(session, cluster, [end], preempted_charge=0.25)
    assert take(books)[cluster][0].seconds == 100.0
    books.finish(cluster, {there[1]: books.preempted}, start_time=100.0, stop_time=200.0, resources=4)
    assert take(books)[cluster][0].seconds == 400.0


def test_books_that_a_runner_writes_to_are_left_for_the_next_time(books, cluster):
    one, two = books.campaign([cluster], 9), books.campaign([cluster], 9)
    for campaign in (one, two):
        (job,) = books.submit(cluster, campaign, 1)
        books.finish(cluster, {job: books.success}, start_time=100.0, stop_time=130.0)
    with books.transaction(cluster) as runner:
        runner.execute(text("SELECT 1 FROM campaign_clusters WHERE campaign_id = :one FOR UPDATE"), {"one": one})
        assert [charge.campaign_id for charge in take(books)[cluster]] == [two]
    assert [charge.campaign_id for charge in take(books)[cluster]] == [one]


def test_a_campaign_that_is_over_charges_its_user_alone(books, cluster):
    campaign = books.campaign([cluster], 9)
    there = books.submit(cluster, campaign, 1)
    with books.transaction() as session:
        campaigns.cancel(session, campaign)
    books.finish(cluster, {there[0]: books.cancelled}, start_time=100.0, stop_time=130.0)
    (charge,) = take(books)[cluster]
    assert charge == Charge(None, "alice", 30.0)
    ledger = Ledger()
    ledger.charge(charge)
    assert ledger.users["alice"].time == 30.0 and ledger.campaigns == {}


def test_what_is_written_is_read(books, cluster):
    campaign = books.campaign([cluster], 9)
    assert read(books, cluster) == Ledger()
    users = {"alice": UserAccount(1.5, True, 2.5, 0.0, 4.0), "bob": UserAccount(7.0)}
    ledger = Ledger(12.5, users, {campaign: Account(3.25, True)})
    change(books, cluster, ledger)
    assert read(books, cluster) == ledger
    ledger.users["alice"].time = 99.0
    change(books, cluster, ledger)
    assert read(books, cluster) == ledger
    other = books.cluster("other")
    assert read(books, other) == Ledger()


def test_only_what_changed_is_written(books, cluster):
    campaign = books.campaign([cluster], 9)
    change(books, cluster, Ledger(1.0, {"alice": UserAccount(1.0), "bob": UserAccount(1.0)}, {campaign: Account(1.0)}))

    def versions():
        with books.transaction() as session:
            return session.execute(text("SELECT grid_user, xmin::text FROM user_shares ORDER BY 1")).all()

    before = versions()
    with books.transaction() as session:
        found = shares.read(session, [cluster], 3600.0)
        found.of_cluster[cluster].users["bob"].time = 2.0
        shares.write(session, found)
    after = versions()
    assert before[0] == after[0] and before[1] != after[1]


def test_recent_use_has_a_half_life(books, cluster):
    change(books, cluster, Ledger(users={"alice": UserAccount(recent=800.0)}))
    with books.transaction() as session:
        session.execute(text("UPDATE user_shares SET recent_at = now() - interval '2 hours'"))
    assert read(books, cluster, 3600.0).users["alice"].recent == pytest.approx(200.0, rel=0.01)
    assert read(books, cluster, 0.0).users["alice"].recent == 0.0


def test_accounts_of_campaigns_that_ended_are_forgotten(books, cluster):
    gone, here = books.campaign([cluster], 1), books.campaign([cluster], 1)
    change(books, cluster, Ledger(campaigns={gone: Account(1.0), here: Account(1.0)}))
    with books.transaction() as session:
        campaigns.cancel(session, gone)
        shares.forget_ended(session)
        assert session.scalars(select(CampaignShare.campaign_id)).all() == [here]
