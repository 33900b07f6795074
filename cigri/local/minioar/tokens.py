"""The tokens of several users, as OAR3 makes and judges them: HS256, claims user, exp and date."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import jwt

from cigri.local.minioar.request import Refusal

ALGORITHM = "HS256"
LIFETIME = 365 * 86400.0


def issue(secret: str, user: str, lifetime: float | None = LIFETIME, *, now: float | None = None) -> str:
    """A token of a user for so many seconds (None: for ever; negative: one that has expired)."""
    began = time.time() if now is None else now
    claims: dict[str, object] = {"user": user, "date": f"{datetime.fromtimestamp(began, UTC):%Y-%m-%d %H:%M:%S}"}
    if lifetime is not None:
        claims["exp"] = int(began + lifetime)
    return jwt.encode(claims, secret, ALGORITHM)


class Desk:
    """Judges tokens made with one secret, and renews them for as long as they were made for."""

    def __init__(self, secret: str, lifetime: float = LIFETIME) -> None:
        self._secret = secret
        self._lifetime = lifetime

    def user(self, token: str) -> str:
        """Whose token it is. Raises Refusal, in OAR3's words."""
        try:
            user = jwt.decode(token, self._secret, algorithms=[ALGORITHM]).get("user")
        except jwt.InvalidTokenError:
            user = None
        if not isinstance(user, str) or not user:
            raise Refusal(401, "Could not validate credentials !!! ")
        return user

    def renew(self, token: str) -> str:
        """Another token for the user of one that is still valid."""
        return issue(self._secret, self.user(token), self._lifetime)


def bearer(header: str) -> str:
    """The token in an Authorization header. Raises Refusal, in OAR3's words."""
    scheme, _, word = header.partition(" ")
    if not word.strip():
        raise Refusal(403, "Not authenticated")
    if scheme.lower() != "bearer":
        raise Refusal(403, "Invalid authentication credentials")
    return word.strip()
