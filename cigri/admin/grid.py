"""The grid that the configuration file names, as gridadmin gets at it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import click

from cigri import config
from cigri.config import Settings
from cigri.errors import CigriError, DatabaseError

if TYPE_CHECKING:  # SQLAlchemy is imported when it is needed: `gridadmin --help` answers at once
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from cigri.db.tables import Cluster


class Failure(click.ClickException):
    """A fault that was foreseen: one message on stderr, exit status 1."""

    def show(self, file: object = None) -> None:
        click.echo(f"gridadmin: {self.message}", err=True)


class Commands(click.Group):
    """A group whose foreseen errors are messages."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except CigriError as error:
            raise Failure(str(error)) from error


class Grid:
    """Settings and database of the grid; both are looked at when first needed."""

    def __init__(self, config_file: str | None) -> None:
        self._config_file = config_file

    @cached_property
    def settings(self) -> Settings:
        """The daemons' configuration. Raises ConfigError."""
        return config.load(self._config_file)

    @property
    def conninfo(self) -> str:
        """The database as libpq takes it. It has the password: never print it."""
        return self.settings.database_url().replace("postgresql+psycopg:", "postgresql:", 1)

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """The database, with a schema of this version. Raises DatabaseError, SchemaMismatch."""
        from cigri.db.engine import create_engine
        from cigri.db.migrate import require_current

        with database_errors(self.settings):
            require_current(self.conninfo)
            engine = create_engine(self.settings.database_url(), application="gridadmin", any_size=True)
            try:
                yield engine
            finally:
                engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction on that database."""
        from cigri.db.engine import transaction

        with self.engine() as engine, transaction(engine) as session:
            yield session


@contextmanager
def database_errors(settings: Settings) -> Iterator[None]:
    """What the database's drivers raise, as DatabaseError in one line."""
    import psycopg
    import sqlalchemy.exc

    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        raise DatabaseError(_one_line(str(error.orig), settings)) from error
    except psycopg.Error as error:
        raise DatabaseError(_one_line(str(error), settings)) from error


def _one_line(message: str, settings: Settings) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return f"database {settings.database_name}: {lines[0] if lines else 'unknown error'}"


def known_cluster(session: Session, name: str, *, change: bool = False) -> Cluster:
    """The cluster of this name, locked where it is to be changed. Raises Failure, with what was perhaps meant."""
    from cigri.db import clusters

    found = clusters.locked(session, name) if change else clusters.by_name(session, name)
    if found is not None:
        return found
    names = [cluster.name for cluster in clusters.present(session)]
    if close := difflib.get_close_matches(name, names, n=1):
        raise Failure(f"there is no cluster {name} (did you mean {close[0]}?)")
    raise Failure(f"there is no cluster {name}; there are: {', '.join(names) or 'none yet'}")
