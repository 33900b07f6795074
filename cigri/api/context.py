"""What an endpoint works with: settings, database, caller, links and answers of one request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Depends, Request, Response
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cigri.api.callers import Caller, caller_of
from cigri.api.errors import ApiError, not_found, refused
from cigri.api.replies import Json, Urls, reply
from cigri.config import Settings
from cigri.core import vault
from cigri.core.tokens import API_TOKEN, digest
from cigri.db import api_tokens
from cigri.db import engine as database
from cigri.errors import ConfigError

MOST = 2**31 - 1  # ids of campaigns and clusters
MOST_BIG = 2**63 - 1  # ids of tasks, jobs and events
LONGEST_PAGE = 100_000
KEPT = ("all", "after", "pretty")  # what a page of a list hands on to the next

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Context:
    """One request."""

    request: Request
    settings: Settings
    engine: Engine
    caller: Caller
    url: Urls

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction, committed at the end of the block."""
        with database.transaction(self.engine) as session:
            yield session

    def reply(self, content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """An answer."""
        return reply(self.request, content, status, headers)

    def done(self, message: str, **more: Any) -> Response:
        """202: it was done, or will be. `more` is put into the answer beside the message."""
        return self.reply({"status": 202, "title": "Accepted", "message": message, **more}, 202)

    async def asking(self, ask: Callable[[], T]) -> T:
        """What a cluster says. Clusters are slow: they are asked in threads of their own, so that others are served."""
        limiter: CapacityLimiter = self.request.app.state.cluster_readers
        return await run_sync(ask, limiter=limiter)

    def given(self, parameter: str) -> bool:
        """Whether a parameter without a value (?hold) is there."""
        return self.request.query_params.get(parameter, "false") not in ("false", "0")

    def number(self, parameter: str, default: int) -> int:
        """The value of a parameter that is a whole number."""
        value = self.request.query_params.get(parameter)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit() and len(value) < 19):
            raise refused(f"{parameter} must be a whole number, not {value!r}")
        return int(value)

    def page(self) -> tuple[int, int]:
        """limit and offset."""
        return min(self.number("limit", 100), LONGEST_PAGE), self.number("offset", 0)

    def longest(self) -> int:
        """limit, for the lists that come whole unless they are very long."""
        return min(self.number("limit", LONGEST_PAGE), LONGEST_PAGE)

    def sealed(self, secret: str, purpose: str) -> str:
        """The secret as it may be stored. Refuses while the grid's key cannot be used."""
        try:
            return vault.load(self.settings.token_key_file).seal(secret, purpose)
        except ConfigError as error:
            message = f"The grid cannot keep secrets now, its administrator has to see to it: {error}"
            raise ApiError(503, message) from error

    def sees(self, owner: str | None) -> bool:
        """Whether what belongs to this user is there for the caller: with API_PRIVATE what is others' is not."""
        return owner is not None and (not self.settings.api_private or self.caller.owns(owner))

    def page_links(self, path: str, parent: str, limit: int, offset: int, total: int) -> list[Json]:
        """The links of one page of a list: `next` where there is one, with what else was asked for."""
        links = [self.url.link("self", path), self.url.link("parent", parent)]
        if limit and offset + limit < total:
            asked = [(key, value) for key, value in self.request.query_params.multi_items() if key in KEPT]
            query = urlencode([*asked, ("limit", limit), ("offset", offset + limit)])
            links.append(self.url.link("next", f"{path}?{query}"))
        return links

    def links_after(self, path: str, parent: str, limit: int, last: int | None) -> list[Json]:
        """The links of a page of a list that goes on after the item `last`, if it does."""
        links = [self.url.link("self", path), self.url.link("parent", parent)]
        if last is not None:
            links.append(self.url.link("next", f"{path}?{urlencode({'after': last, 'limit': limit})}"))
        return links

    def check_visible(self, campaign_id: int, owner: str | None) -> str:
        """The owner; refuses campaigns that are not there for the caller."""
        if owner is None or not self.sees(owner):
            raise not_found(f"There is no campaign {campaign_id}")
        return owner


def context(request: Request) -> Context:
    """The dependency that gives an endpoint its context."""
    settings: Settings = request.app.state.settings
    engine: Engine = request.app.state.engine

    def token_user(token: str) -> str | None:
        if not API_TOKEN.fullmatch(token):
            return None
        with database.transaction(engine) as session:
            return api_tokens.user_of(session, digest(token))

    return Context(request, settings, engine, caller_of(request, settings, token_user), Urls(request))


Here = Annotated[Context, Depends(context)]


def identifier(text: str, what: str, most: int = MOST) -> int:
    """An id from a path. What is no number is the id of nothing: 404."""
    if text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= most:
        return int(text)
    raise not_found(f"There is no {what} {text}")
