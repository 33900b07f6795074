"""The counters of a campaign are what counting its tasks gives, whoever moves them, however many at once."""

from __future__ import annotations

import random
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from cigri.core.states import TASK_MOVES, TaskState
from cigri.db import campaigns
from cigri.db.tables import Table

MOVE = text("""
    UPDATE tasks SET state = CAST(:target AS task_state) WHERE id IN (
        SELECT id FROM tasks WHERE state = CAST(:source AS task_state) AND campaign_id = ANY(:campaigns)
        ORDER BY id LIMIT :many FOR UPDATE SKIP LOCKED)
""")
MOVES = [(source, target) for source, targets in TASK_MOVES.items() for target in sorted(targets)]


def moves(books, campaign_ids, writer, seed, rounds):
    """Random legal moves, some of them rolled back, some of several campaigns in one statement."""
    chance = random.Random(seed)  # noqa: S311 - a random driver
    for _ in range(rounds):
        try:
            with books.transaction(writer) as session:
                for _ in range(chance.randint(1, 3)):
                    source, target = chance.choice(MOVES)
                    some = sorted(chance.sample(campaign_ids, chance.randint(1, len(campaign_ids))))
                    known = {"source": source.value, "target": target.value, "campaigns": some}
                    session.execute(MOVE, {**known, "many": chance.randint(1, 6)})
                if chance.random() < 0.2:
                    raise ChangedItsMind
        except ChangedItsMind:
            pass
        except DBAPIError as error:
            assert error.orig.sqlstate == "40P01", "a deadlock between two transactions of one writer is undone whole"


class ChangedItsMind(Exception):
    pass


def counted(books, campaign_id):
    return {state: number for state, number in books.tasks(campaign_id).items() if number}


def test_random_moves_by_several_writers_at_once(unchecked):
    cluster = unchecked.cluster()
    ids = [unchecked.campaign([cluster], 20) for _ in range(3)]
    threads = [
        threading.Thread(target=moves, args=(unchecked, ids, writer, seed, 40))
        for seed, writer in enumerate((0, 0, 1, 2, 3))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(unchecked.progress(campaign) == counted(unchecked, campaign) for campaign in ids)
    assert {row.writer for row in counters(unchecked)} == {0, 1, 2, 3}


def counters(books):
    with books.transaction() as session:
        return session.execute(text("SELECT * FROM campaign_counts")).all()


def test_two_writers_do_not_wait_for_each_other(books, other_engine):
    """Runners of two clusters that move tasks of one campaign in open transactions."""
    first, second = books.cluster("first"), books.cluster("second")
    campaign = books.campaign([first, second], 4)
    known = {"source": "pending", "target": "done", "campaigns": [campaign], "many": 2}
    with books.transaction(first) as one, type(books)(other_engine).transaction(second) as other:
        one.execute(text("SET LOCAL lock_timeout = '1s'"))
        other.execute(text("SET LOCAL lock_timeout = '1s'"))
        one.execute(MOVE, known)
        other.execute(MOVE, known)
    assert books.progress(campaign) == {TaskState.DONE: 4}


def test_a_writer_is_named_for_one_transaction_only(books):
    cluster = books.cluster()
    campaign = books.campaign([cluster], 4)
    known = {"source": "pending", "target": "done", "campaigns": [campaign], "many": 1}
    with books.transaction(7) as session:
        session.execute(MOVE, known)
    with books.transaction() as session:
        session.execute(MOVE, known)
    assert {row.writer: row.done for row in counters(books)} == {0: 1, 7: 1}


def test_updates_that_move_nothing_leave_the_counters_alone(books):
    campaign = books.campaign([books.cluster()], 4)
    before = counters(books)
    with books.transaction(5) as session:
        session.execute(text("UPDATE tasks SET priority = 20"))
        session.execute(text("UPDATE tasks SET state = state"))
        session.execute(text("UPDATE tasks SET state = 'done' WHERE false"))
    assert counters(books) == before and books.progress(campaign) == {TaskState.PENDING: 4}


def test_added_tasks_are_counted(books):
    campaign = books.campaign([books.cluster()], 4)
    with books.transaction() as session:
        campaigns.add_tasks(session, campaign, ["a", "b"], 2)
    assert books.progress(campaign) == {TaskState.PENDING: 6}


def test_a_declared_count_that_is_wrong_makes_no_campaign(books):
    cluster = books.cluster()
    with pytest.raises(campaigns.CountDiffers), books.transaction() as session:
        campaigns.create(session, "alice", "short", {}, {cluster: campaigns.Place()}, ["one"], 2)
    with books.transaction() as session:
        tables = ("campaigns", "tasks", "campaign_counts")
        assert all(session.query(Table.metadata.tables[name]).count() == 0 for name in tables)
