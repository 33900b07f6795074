"""Errors of the database that pass: what they mean, and whether the same is worth trying again at once."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_UNDONE = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_WORDS = {
    "25006": "takes no changes now (it is read-only)",
    "53100": "has no room left on its disk: its administrator has to see to it",
    "53300": "has no connection left",
    "25P03": "ended a transaction that nobody had gone on with for too long",
}


def undone(error: BaseException) -> bool:
    """Whether a transaction was undone for others' sake: the same, whole, is likely to succeed now."""
    return isinstance(error, DBAPIError) and _sqlstate(error) in _UNDONE


def away(error: BaseException) -> str:
    """Why the database cannot be used for a while, to be read after "the database"; "" if that is not what it says."""
    if not isinstance(error, DBAPIError):
        return "has no connection left" if isinstance(error, PoolTimeout) else ""
    if words := _WORDS.get(_sqlstate(error)):
        return words
    if undone(error):
        return "is too busy with others' changes of the same things"
    if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
        return "cannot be reached now"
    return ""


def _sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""
