"""Many rows at once, by COPY."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session


def copy(session: Session, statement: str, rows: Iterable[Sequence[Any]]) -> int:
    """Send the rows to a `COPY ... FROM STDIN`; how many they were. Raises DBAPIError as other statements do."""
    connection = session.connection()
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    count = 0
    try:
        with driver.cursor() as cursor, cursor.copy(statement.encode()) as stream:
            for row in rows:
                stream.write_row(row)
                count += 1
    except psycopg.Error as error:
        raise DBAPIError.instance(statement, None, error, psycopg.Error, dialect=connection.dialect) from error
    return count
