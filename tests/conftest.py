"""What every test may ask for: a real PostgreSQL, and a database of its own in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from cigri.db.engine import create_engine
from cigri.db.migrate import migrate
from cigri.local.postgres import EmbeddedPostgres

_numbers = itertools.count()


@dataclass(frozen=True)
class Database:
    """An empty database with the schema in it. `conninfo` is for psycopg, `url` for SQLAlchemy."""

    name: str
    host: str
    port: int

    @property
    def conninfo(self) -> str:
        return f"host={self.host} port={self.port} user=postgres dbname={self.name}"

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@/{self.name}?host={self.host}&port={self.port}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits long begins first, so that nothing is waited for in the end."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/system"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(None, durable=False, die_with_parent=True) as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> Database:
    parts = psycopg.conninfo.conninfo_to_dict(postgres.conninfo)
    database = Database("cigri_template", str(parts["host"]), int(parts["port"]))
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("CREATE DATABASE cigri_template")
    migrate(database.conninfo)
    return database


@pytest.fixture
def database(postgres: EmbeddedPostgres, template: Database) -> Iterator[Database]:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template.name}")
        yield Database(name, template.host, template.port)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    engine = create_engine(database.url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the source tree."""
    return Path(__file__).resolve().parent.parent
