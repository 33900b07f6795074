"""Many rows at once, by COPY."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

BATCH = 1000
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copy(session: Session, statement: str, rows: Iterable[Sequence[Any]]) -> int:
    """Send the rows to a `COPY ... FROM STDIN`; how many they were. Raises DBAPIError as other statements do."""
    count = 0
    with _stream(session, statement) as stream:
        for row in rows:
            stream.write_row(row)
            count += 1
    return count


def copy_texts(session: Session, statement: str, key: int, texts: Iterable[str]) -> int:
    """The same for rows of one number and a text each, twice as fast."""
    count, left = 0, iter(texts)
    with _stream(session, statement) as stream:
        while batch := list(islice(left, BATCH)):
            stream.write("".join([f"{key}\t{_escaped(text)}\n" for text in batch]))
            count += len(batch)
    return count


@contextmanager
def _stream(session: Session, statement: str) -> Iterator[psycopg.Copy]:
    connection = session.connection()
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    try:
        with driver.cursor() as cursor, cursor.copy(statement.encode()) as stream:
            yield stream
    except psycopg.Error as error:
        raise DBAPIError.instance(statement, None, error, psycopg.Error, dialect=connection.dialect) from error


def _escaped(text: str) -> str:
    return text if text.isprintable() and "\\" not in text else text.translate(ESCAPES)
