"""What judas asks of the database costs what is new, not what there is."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import TextClause, text

from cigri.db import notifications
from cigri.db.engine import transaction


def plan(session, statement: TextClause, **values: object) -> str:
    rows = session.execute(text(f"EXPLAIN {statement.text}"), values)  # noqa: S608 - the program's own statement
    return "\n".join(row[0] for row in rows)


def test_told_events_cost_nothing(town) -> None:
    campaign = town.campaign()
    town.sql(
        "INSERT INTO events (class, code, state, date_closed, campaign_id, notified_at, notified_count)"
        " SELECT 'job', 'RESUBMIT', 'closed', now(), %s, now(), 1 FROM generate_series(1, 30000)",
        campaign,
    )
    town.fails(campaign)
    town.sql("ANALYZE")
    values = {"gathering": timedelta(0), "period": timedelta(1), "each": ["A"], "while_open": ["B"]}
    with transaction(town.engine) as session:
        take = plan(session, notifications._TAKE, kinds=10, events=10, **values)
        hush = plan(session, notifications._HUSH, told=["A"], waiting=["B"])
    for told in (take, hush):
        assert "events_untold" in told, told
        assert "Seq Scan on events" not in told, told


def test_a_crash_between_marking_and_writing_leaves_both_undone(town, mail_server) -> None:
    town.subscribe("alice", "alice@example.org")
    town.fails(town.campaign())
    try:
        with transaction(town.engine) as session:
            assert notifications.take(session, gathering=timedelta(0), period=timedelta(1))
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    town.judas.cycle()
    assert len(mail_server.mails) == 1


def test_when_kinds_were_told_is_forgotten_after_a_while(town) -> None:
    town.fails(town.campaign())
    town.judas.cycle()
    assert town.sql("SELECT count(*) FROM told_kinds") == [(1,)]
    town.later(90000)
    town.forget()
    town.judas.cycle()
    assert town.sql("SELECT count(*) FROM told_kinds") == [(0,)]
