"""The lock of a cluster: one request at a time, by whoever."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import text

from cigri.db.locks import ClusterBusy, ClusterLock


@pytest.fixture
def lock(engine, other_engine):
    """Makes locks: of this process, or of another."""
    made = []

    def make(cluster_id=1, *, elsewhere=False, wait=None):
        made.append(ClusterLock(other_engine if elsewhere else engine, cluster_id, wait=wait))
        return made[-1]

    yield make
    for each in made:
        each.close()


def backends(books):
    """Who holds a cluster's lock."""
    query = text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 67 AND granted")
    with books.transaction() as session:
        return list(session.scalars(query))


def test_one_at_a_time(books, lock):
    inside, most = [], []

    def use(elsewhere):
        mine = lock(elsewhere=elsewhere)
        for _ in range(10):
            with mine():
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    threads = [threading.Thread(target=use, args=(elsewhere,)) for elsewhere in (True, False, True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 40 and max(most) == 1 and backends(books) == []


def test_other_clusters_do_not_wait(lock):
    with lock(1)(), lock(2, elsewhere=True, wait=0.5)():
        pass


def test_whoever_cannot_wait_is_told(lock):
    impatient = lock(elsewhere=True, wait=0.15)
    with lock()():
        began = time.monotonic()
        with pytest.raises(ClusterBusy), impatient():
            pytest.fail("two at once")
        assert 0.1 < time.monotonic() - began < 3
    with impatient():
        pass


def test_an_error_inside_gives_the_lock_back(books, lock):
    with pytest.raises(ZeroDivisionError), lock()():
        _ = 1 / 0
    assert backends(books) == []


def test_waiting_holds_no_transaction_open(books, lock):
    with lock()():
        pid = backends(books)[0]
        with books.transaction() as session:
            state = session.scalar(text("SELECT state FROM pg_stat_activity WHERE pid = :pid"), {"pid": pid})
        assert state == "idle"


def test_the_lock_goes_with_its_connection(books, lock):
    """Whoever held it may have died: nobody waits for the dead, and the lock can be used again."""
    broken = lock()
    with broken():
        with books.transaction() as session:
            session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": backends(books)[0]})
        with lock(elsewhere=True, wait=2)():
            pass
    with broken():
        assert len(backends(books)) == 1


def test_a_connection_that_died_while_the_lock_was_free_is_replaced(books, lock):
    mine = lock()
    with mine():
        pid = backends(books)[0]
    with books.transaction() as session:
        session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    time.sleep(0.05)
    with mine():
        assert len(backends(books)) == 1


def test_closing_gives_the_connection_back(books, lock):
    mine = lock()
    with mine():
        pid = backends(books)[0]
    mine.close()
    mine.close()
    with books.transaction() as session:
        until = time.monotonic() + 2
        query = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        while session.scalar(query, {"pid": pid}) and time.monotonic() < until:
            session.execute(text("SELECT pg_stat_clear_snapshot(), pg_sleep(0.02)"))
        assert session.scalar(query, {"pid": pid}) == 0
