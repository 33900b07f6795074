"""Errors of the grid. A class says what the caller can do about it.

CigriError
  ConfigError            the configuration file must be mended (file and line are in the message)
  InvalidJDL             the campaign must be mended (all faults at once)
  DatabaseError
    SchemaMismatch       the database must be migrated
  DutyLost               another process has the duty: stop writing
  ClusterError           something about one cluster
    Unreachable          nothing was sent: trying again is safe
    NoAnswer             the request may have been carried out: look before sending again
      ConnectionCut        ... because the peer ended the connection
    Refused              the cluster understood and said no: do not send the same again
      TokenRefused       ... because of who asked
      NotFound           ... because the thing is not there
    BadReply             an answer to a read that makes no sense: try again later
"""

from __future__ import annotations

from dataclasses import dataclass


class CigriError(Exception):
    """Something went wrong in the grid."""


class ConfigError(CigriError):
    """The configuration cannot be used."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a campaign: where, what was found, what was expected (a sentence)."""

    path: str
    message: str
    value: str | None = None

    def __str__(self) -> str:
        found = "" if self.value is None else f" (found {self.value})"
        return f"{self.path}: {self.message}{found}"


class InvalidJDL(CigriError):
    """The campaign description has faults; all of them are in `faults`."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class DatabaseError(CigriError):
    """The database cannot be used as it is."""


class SchemaMismatch(DatabaseError):
    """The schema of the database is not the one of this program: run `gridadmin db migrate`."""


class DutyLost(CigriError):
    """Another process has taken the duty over: nothing may be written or sent under it any more."""


class ClusterError(CigriError):
    """A cluster could not do what was asked."""


class Unreachable(ClusterError):
    """Nothing was sent to the cluster: asking again is safe."""


class NoAnswer(ClusterError):
    """The request may have been carried out: look before asking again. `detail`: what the cluster said, if it did."""

    def __init__(self, message: str, detail: str = "") -> None:
        self.detail = detail
        super().__init__(message)


class ConnectionCut(NoAnswer):
    """The peer ended the connection where its answer should have come."""


class Refused(ClusterError):
    """The cluster understood and refused; `detail` is all that it said about it."""

    def __init__(self, message: str, status: int = 0, detail: str = "") -> None:
        self.status, self.detail = status, detail
        super().__init__(message)


class TokenRefused(Refused):
    """The cluster does not accept who asks: a token is missing, wrong or expired."""


class NotFound(Refused):
    """The thing asked for is not there."""


class BadReply(ClusterError):
    """The cluster's answer to a read makes no sense (5xx, cut or garbled body): try again later."""
