"""Clusters' tokens: what their claims say, when they are to be renewed, when their owner is told.

The claims are read without their signature being verified: only the cluster can do that. They are believed for
one thing alone: under which name the cluster knows who brings this very token.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt

LISTER = "root"  # the grid user whose token is the one of ...
LISTING_LOGIN = "oar"  # ... this user of the cluster: it only lists

GOOD_TIME = timedelta(days=7)
API_TOKEN = re.compile(r"cigri_[A-Za-z0-9_-]{43}")
API_TOKEN_BYTES = 32
LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of itself. `user` None: it names nobody; `expires` None: never."""

    user: str | None
    expires: datetime | None


def claims(token: str) -> Claims:
    """What a token says. Raises ValueError, with a sentence without the token, when it is none."""
    if len(token) > LONGEST:
        raise ValueError(f"a token has at most {LONGEST} characters")
    try:
        said = jwt.decode(token, options={"verify_signature": False, "verify_exp": False, "verify_nbf": False})
    except (jwt.InvalidTokenError, ValueError):
        raise ValueError("this is no token of a cluster (a JWT: three parts between dots)") from None
    user, expires = said.get("user", said.get("sub")), said.get("exp")
    if user is not None and not (isinstance(user, str) and re.fullmatch(r"[!-~]{1,64}", user)):
        raise ValueError("the token's claim `user` is no name")
    if expires is None:
        return Claims(user, None)
    try:
        return Claims(user, datetime.fromtimestamp(float(expires), UTC))
    except (TypeError, ValueError, OverflowError, OSError):
        raise ValueError("the token's claim `exp` is no date") from None


def renewal_due(now: datetime, stored: datetime, expires: datetime) -> bool:
    """Whether less than a third of the time is left, or less than 7 days of a token that was not just stored."""
    lifetime, left = expires - stored, expires - now
    return left < lifetime / 3 or (left < GOOD_TIME and now - stored > lifetime / 3)


def owner_is_told(now: datetime, stored: datetime, expires: datetime) -> bool:
    """Whether it is time to tell the owner of a token that could not be renewed yet."""
    return expires - now < max(min((expires - stored) / 6, GOOD_TIME), timedelta(minutes=10))


def next_try(stored: datetime, expires: datetime) -> timedelta:
    """How long to wait after a renewal that failed."""
    return min(max((expires - stored) / 60, timedelta(minutes=1)), timedelta(hours=6))


def make_api_token() -> str:
    """A new personal token for the API: 256 random bits."""
    return f"cigri_{secrets.token_urlsafe(API_TOKEN_BYTES)}"


def digest(api_token: str) -> str:
    """What is kept of a personal token. It is random enough for a plain hash."""
    return hashlib.sha256(api_token.encode()).hexdigest()
