"""The tokens of the grid's users for one cluster, opened when they are needed and not kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import Engine

from cigri.core import vault
from cigri.core.tokens import LISTER
from cigri.db import mappings
from cigri.db.engine import transaction
from cigri.errors import ConfigError, TokenRefused, Unreachable

log = logging.getLogger(__name__)


class TokenMissing(TokenRefused):
    """The user has no token for the cluster."""


class Wallet:
    """Gives the token with which a request to the cluster is to be sent."""

    def __init__(self, engine: Engine, cluster_id: int, cluster_name: str, key_file: str) -> None:
        self._engine = engine
        self._cluster_id, self._cluster_name = cluster_id, cluster_name
        self._key_file = key_file

    def __repr__(self) -> str:
        return f"Wallet({self._cluster_name})"

    def asking(self, owner: str) -> Callable[[str | None], str]:
        """What a client asks on behalf of a grid user: with a login for that user's token, with None for the lister's.

        Raises TokenRefused when the user has none that is valid, Unreachable when tokens cannot be opened.
        There may be no lister: then its token is "".
        """
        return partial(self._ask, owner)

    def check(self, owner: str) -> None:
        """Raise as asking for the user's token does."""
        self.token(owner)

    def token(self, owner: str) -> str:
        """The grid user's own token."""
        with transaction(self._engine) as session:
            mapping = mappings.find(session, owner, self._cluster_id)
        where = f"{owner} has no token for {self._cluster_name}"
        if mapping is None or mapping.token is None:
            raise TokenMissing(f"{where}: {self.advice}")
        if mappings.expired(mapping, datetime.now(UTC)):
            raise TokenRefused(f"{where} that is still valid, since {mapping.expires_at:%Y-%m-%d %H:%M}: {self.advice}")
        try:
            return vault.load(self._key_file).open(mapping.token, mappings.purpose(owner, self._cluster_id))
        except ConfigError as error:
            raise Unreachable(f"cluster {self._cluster_name} is not asked: {error}") from error

    @property
    def advice(self) -> str:
        """What a user has to type."""
        return (
            f"get one there (`oarsub -T`), then type: gridtoken -i {self._cluster_id} -t TOKEN"
            " (`-t -` reads it from the terminal)"
        )

    def _ask(self, owner: str, login: str | None) -> str:
        if login is not None:
            return self.token(owner)
        try:
            return self.token(LISTER)
        except TokenRefused:
            return ""
        except Unreachable as error:
            log.warning("%s", error)
            return ""
