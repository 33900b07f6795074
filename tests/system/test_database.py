"""The database goes away, comes back, takes no changes for a while: nobody ends, nothing is lost, it is told once."""

from __future__ import annotations

import re
from collections import Counter

import psycopg
import pytest

from cigri.errors import CigriError

PATIENCE = 120.0
TASKS = 40
CLUSTERS = {"a": 4}


def told(whole) -> Counter[str]:
    """How often each process said that the database has trouble."""
    lines = re.findall(r"(\w+(?: \w+)?): (?:the database: .+)", whole.log())
    return Counter(lines)


def change(whole, statement: str) -> None:
    """Change the whole database, for everybody who connects anew; and everybody has to."""
    address = whole.engine.url.set(drivername="postgresql").render_as_string()
    with psycopg.connect(address, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute(statement)  # type: ignore[call-overload]
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_restarts_and_a_time_without_changes(whole) -> None:
    whole.up(CLUSTERS)
    campaign = whole.submit(TASKS, CLUSTERS)
    assert whole.until(lambda: whole.done(campaign) >= 4, PATIENCE)
    started = whole.children()

    whole.local.postgres.stop()
    assert whole.until(lambda: len(told(whole)) >= len(started), PATIENCE)
    with pytest.raises(CigriError, match="cannot be reached now. Nothing was done"):
        whole.submit(1, CLUSTERS)
    whole.local.postgres.start()
    before = whole.done(campaign)
    assert whole.until(lambda: whole.done(campaign) > before or whole.state(campaign) == "terminated", PATIENCE)

    name = whole.engine.url.database
    change(whole, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(CigriError, match="read-only"):
        whole.submit(1, CLUSTERS)
    assert f"{campaign}" in whole.command("gridstat", "-c", str(campaign))
    assert whole.until(lambda: whole.log().count("read-only") >= len(started), PATIENCE)
    change(whole, f"ALTER DATABASE {name} RESET default_transaction_read_only")

    assert whole.until(lambda: whole.state(campaign) == "terminated", PATIENCE), whole.log()[-5000:]
    assert whole.marks() == Counter({f"task-{number}": 1 for number in range(TASKS)})
    assert whole.faulty_books() == []
    assert whole.children() == started, "nobody ended"
    assert max(told(whole).values()) <= 4, told(whole)
    assert "Traceback" not in whole.log()
