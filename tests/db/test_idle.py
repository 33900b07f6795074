"""A transaction whose process went away without a word does not lock others out for ever."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from cigri.db import passing
from cigri.db.engine import create_engine, transaction


def test_the_server_undoes_what_nobody_goes_on_with(books, database, cluster):
    engine = create_engine(database.url, idle_limit=0.5)
    lock = text("SELECT FROM clusters FOR UPDATE")
    try:
        with pytest.raises(DBAPIError) as caught, transaction(engine) as session:
            session.execute(lock)
            with books.transaction() as other:  # waits for the lock
                other.execute(text("SET LOCAL lock_timeout = '20s'"))
                other.execute(lock)
            time.sleep(0.1)
            session.execute(lock)
        assert passing.away(caught.value)
    finally:
        engine.dispose()
