"""Bringing a database to the schema of this program: sql/schema.sql, then sql/migrations/NNN_what.sql in order."""

from __future__ import annotations

import hashlib
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg

from cigri.errors import DatabaseError, SchemaMismatch

_LOCK = 7236964  # whoever migrates holds this advisory lock
_LEDGER = """CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now())"""


@dataclass(frozen=True, slots=True)
class Step:
    """One file of SQL; schema.sql is version 1."""

    version: int
    path: Path

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def sql_folder() -> Path:
    """Where the SQL files are: in a checkout beside the package, installed under the prefix."""
    checkout = Path(__file__).resolve().parents[2] / "sql"
    return checkout if checkout.is_dir() else Path(sys.prefix) / "share" / "cigri" / "sql"


def steps(folder: Path) -> list[Step]:
    """All steps in order. Raises DatabaseError when the files are not numbered 002, 003, ... once each."""
    found = [Step(1, folder / "schema.sql")]
    for path in sorted((folder / "migrations").glob("*.sql")):
        number = re.match(r"(\d{3})_\w+\.sql$", path.name)
        if number is None or int(number[1]) != found[-1].version + 1:
            raise DatabaseError(f"{path}: migrations are numbered 002_what.sql, 003_what.sql and so on, without gaps")
        found.append(Step(int(number[1]), path))
    return found


def _connect(address: str) -> psycopg.Connection:
    """A connection by a libpq string, or by an SQLAlchemy URL."""
    return psycopg.connect(address.replace("postgresql+psycopg://", "postgresql://", 1), autocommit=True)


def migrate(address: str, folder: Path | None = None, *, first_campaign: int | None = None) -> list[str]:
    """Apply what is missing, each step in a transaction of its own; the names of the files applied.

    Two that run at once wait for each other. Raises DatabaseError when a file was changed after it was
    applied, or when the database is newer than this program.
    """
    applied = []
    with _connect(address) as connection:
        if connection.info.server_version < 150000:
            raise DatabaseError("PostgreSQL 15 or later is needed")
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        connection.execute(_LEDGER)
        for step in _missing(connection, folder or sql_folder()):
            with connection.transaction():
                connection.execute(step.path.read_bytes())
                connection.execute(
                    "INSERT INTO schema_migrations (version, name, sha256) VALUES (%s, %s, %s)",
                    (step.version, step.path.name, step.sha256),
                )
                if step.version == 1:
                    _name_grid(connection, first_campaign)
            applied.append(step.path.name)
    return applied


def require_current(address: str, folder: Path | None = None) -> None:
    """Raise SchemaMismatch unless every step of this program has been applied."""
    with _connect(address) as connection:
        ledger = connection.execute("SELECT to_regclass('schema_migrations')").fetchone()
        if ledger is None or ledger[0] is None:
            raise SchemaMismatch("the database has no CiGri schema: run `gridadmin db init`")
        if missing := _missing(connection, folder or sql_folder()):
            names = ", ".join(step.path.name for step in missing)
            raise SchemaMismatch(f"the database lacks {names}: run `gridadmin db migrate`")


def _missing(connection: psycopg.Connection, folder: Path) -> list[Step]:
    known = steps(folder)
    applied: dict[int, str] = dict(connection.execute("SELECT version, sha256 FROM schema_migrations").fetchall())
    if applied and max(applied) > known[-1].version:
        raise DatabaseError(
            f"the database is at version {max(applied)}, newer than this program ({known[-1].version}): upgrade CiGri"
        )
    for step in known:
        if applied.get(step.version, step.sha256) != step.sha256:
            raise DatabaseError(f"{step.path} was changed after it was applied to this database")
    return [step for step in known if step.version not in applied]


def _name_grid(connection: psycopg.Connection, first_campaign: int | None) -> None:
    connection.execute(
        "INSERT INTO grid (id, system_identifier, timeline)"
        " SELECT %s, system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer"
        " FROM pg_control_system()",
        (secrets.token_hex(4),),
    )
    if first_campaign is not None:
        connection.execute("SELECT setval('campaigns_id_seq', %s, false)", (first_campaign,))
