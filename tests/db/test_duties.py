"""One holder per duty, whatever dies, hangs or comes back; writes of a former holder are refused."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from sqlalchemy import text

from cigri.core.states import CampaignState
from cigri.db import duties
from cigri.db.duties import FRESHNESS, STAMP_PERIOD, Duty
from cigri.db.engine import create_engine, transaction
from cigri.db.tables import Campaign
from cigri.errors import DutyLost


@pytest.fixture
def host(database):
    """Makes holders, each with connections of its own like a process."""
    engines, holders = [], []

    def make(timeout=12.0, name="nikita"):
        engine = create_engine(database.url, application="duty")
        engines.append(engine)
        holders.append(Duty(engine, name, timeout))
        return holders[-1]

    yield make
    for holder in holders:
        holder.release()
    for engine in engines:
        engine.dispose()


def row(books):
    with books.transaction() as session:
        return session.execute(text("SELECT * FROM duties WHERE name = 'nikita'")).one()


def end_backend(books, pid):
    with books.transaction() as session:
        assert session.scalar(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


def silence(books, seconds):
    """As if the holder's process had been stopped for so long: its connection is there, its stamps are old."""
    with books.transaction() as session:
        session.execute(text("UPDATE duties SET seen = seen - make_interval(secs => :secs)"), {"secs": seconds})


def checked(holder):
    with transaction(holder._engine) as session:
        holder.check(session)


def test_one_holder_and_a_standby(books, host):
    first, second = host(), host()
    assert first.acquire() and not second.acquire()
    assert (first.held, second.held, first.epoch) == (True, False, 1)
    first.guard()
    checked(first)
    with pytest.raises(DutyLost):
        second.guard()


def test_other_duties_are_other_duties(books, host):
    assert host(name="nikita").acquire() and host(name="updater").acquire()


def test_who_stands_by_gets_a_duty_that_is_given_back(books, host):
    first, second = host(), host()
    first.acquire()
    first.release()
    assert not first.held and second.acquire() and second.epoch == 2
    with pytest.raises(DutyLost):
        first.guard()
    with pytest.raises(DutyLost):
        checked(first)


def test_a_holder_whose_connection_broke_is_replaced_and_fenced(books, host):
    first, second = host(), host()
    first.acquire()
    end_backend(books, row(books).backend_pid)
    assert took_over(second)
    checked(second)
    with pytest.raises(DutyLost, match="somebody else has it now"):
        checked(first)


def took_over(holder, within=3.0):
    until = time.monotonic() + within
    while not holder.acquire():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_a_silent_holder_is_cut_off(books, host):
    first, second = host(), host(timeout=12.0)
    first.acquire()
    silence(books, 11)
    assert not second.acquire()
    assert row(books).epoch == 1, "not silent for long enough"
    silence(books, 2)
    assert took_over(second) and second.epoch == 2
    with pytest.raises(DutyLost):
        checked(first)


def test_what_a_silent_process_holds_besides_its_duty_is_free_again(books, host, database):
    """A cluster's lock, say: without a word from its host the server keeps the session for long."""
    first, second = host(), host()
    first.acquire()
    engine = create_engine(database.url, application=duties.session_name("nikita", os.getpid(), socket.gethostname()))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT pg_advisory_lock(1, 7)"))
        silence(books, 13)
        assert took_over(second)
        with books.transaction() as session:
            session.execute(text("SET LOCAL lock_timeout = '20s'"))
            session.execute(text("SELECT pg_advisory_xact_lock(1, 7)"))
        connection.invalidate()
    engine.dispose()


def test_somebody_elses_backend_is_never_cut_off(books, host):
    """The row names a backend that does not hold the lock: the number may be anybody's by now."""
    first, second = host(), host()
    first.acquire()
    with books.transaction() as bystander:
        pid = bystander.scalar(text("SELECT pg_backend_pid()"))
        with type(books)(second._engine).transaction() as session:
            session.execute(text("UPDATE duties SET backend_pid = :pid, seen = '2001-01-01'"), {"pid": pid})
        assert not second.acquire() and bystander.scalar(text("SELECT 1")) == 1


def test_a_former_holders_transaction_writes_nothing(books, host):
    cluster = books.cluster()
    campaign = books.campaign([cluster])
    first, second = host(), host()
    first.acquire()
    end_backend(books, row(books).backend_pid)
    assert took_over(second)
    with pytest.raises(DutyLost), transaction(first._engine) as session:
        session.get_one(Campaign, campaign).state = CampaignState.PAUSED
        session.flush()
        first.check(session)
    assert books.state(campaign) is CampaignState.IN_TREATMENT


def test_a_successor_waits_for_the_transaction_that_was_checked_before(books, host):
    first, second = host(), host()
    first.acquire()
    taken = threading.Event()

    def succeed():
        assert took_over(second)
        taken.set()

    thread = threading.Thread(target=succeed)
    with transaction(first._engine) as session:
        first.check(session)
        silence(books, 0)  # a stamp: it makes the row anew
        end_backend(books, row(books).backend_pid)
        thread.start()
        assert not taken.wait(0.3), "what was checked may still be committed"
    thread.join()
    assert taken.is_set()


def test_a_check_waits_for_a_take_over_that_is_under_way(books, host):
    first = host()
    first.acquire()
    outcome = []

    def check():
        with pytest.raises(DutyLost) as lost:
            checked(first)
        outcome.append(str(lost.value))

    thread = threading.Thread(target=check)
    with books.transaction() as successor:
        successor.execute(duties._TAKE, {"name": "nikita", "host": "other", "pid": 1})
        thread.start()
        thread.join(0.2)
        assert thread.is_alive(), "the old epoch is not good enough any more"
    thread.join()
    assert "epoch 2, ours was 1" in outcome[0]


def test_a_holder_whose_stamps_hang_sends_nothing(books, host):
    holder = host()
    holder.acquire()
    with books.transaction() as session:
        session.execute(text("SELECT FROM duties FOR UPDATE"))
        holder.guard()
        time.sleep(FRESHNESS + 0.3)
        with pytest.raises(DutyLost, match="not sure"):
            holder.guard()
    time.sleep(0.2)
    holder.guard()


def test_a_holder_stamps_also_during_its_own_long_transaction(books, host):
    """Or else a long transaction would look like a dead holder."""
    holder = host()
    holder.acquire()
    before = row(books).seen
    with transaction(holder._engine) as session:
        holder.check(session)
        time.sleep(STAMP_PERIOD + 0.6)
        assert row(books).seen > before
        holder.guard()


def test_acquiring_again_is_a_new_epoch(books, host):
    holder = host()
    assert [holder.acquire() and holder.epoch for _ in range(3)] == [1, 2, 3]


def test_releasing_leaves_nothing_behind(books, host):
    holder = host()
    holder.acquire()
    backend = row(books).backend_pid
    before = {thread.name for thread in threading.enumerate()}
    holder.release()
    holder.release()
    assert "duty" in before and "duty" not in {thread.name for thread in threading.enumerate()}
    with books.transaction() as session:
        query = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        until = time.monotonic() + 2
        while session.scalar(query, {"pid": backend}) and time.monotonic() < until:
            session.execute(text("SELECT pg_stat_clear_snapshot(), pg_sleep(0.02)"))
        assert session.scalar(query, {"pid": backend}) == 0
