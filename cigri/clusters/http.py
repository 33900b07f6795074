"""The road to one cluster's REST API: requests under the cluster's lock, errors in the grid's words.

A read may be tried again within its time; a write leaves at most once, on a connection of its own.
"""

from __future__ import annotations

import http.client
import json
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import requests
import urllib3
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random
from tenacity.stop import stop_base

from cigri.clusters.credentials import Credentials, Headers
from cigri.clusters.deadline import CONNECT_TIMEOUT, BoundedAdapter, Exchange
from cigri.clusters.document import decode
from cigri.errors import BadReply, ConnectionCut, NoAnswer, NotFound, Refused, TokenRefused, Unreachable

log = logging.getLogger(__name__)

Params = Iterable[tuple[str, str | int]]
Lock = Callable[[], AbstractContextManager[None]]
T = TypeVar("T")

TRIES = 3
MAX_REPLY = 64 << 20
LEAST_TIME = 0.1  # no further try of a read with less than this left
REFUSALS = frozenset({400, 403, 413, 422, 501})
# OAR 2.5 answers only to those who say what they accept, in its files' case too.
COMMON_HEADERS = {"Connection": "close", "Accept": "application/json", "Accept-Encoding": "identity"}
CUTS = (ConnectionError, http.client.IncompleteRead)  # RemoteDisconnected is one
ABOUT_TOKENS = frozenset({"Not authenticated", "Invalid authentication credentials"})


class ServerFault(BadReply):
    """A read was answered with an HTTP status that is neither success nor refusal."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


class ReplyTooLarge(BadReply):
    """The reply to a read is larger than allowed: asking the same again is of no use."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whole."""

    status: int
    body: bytes
    secret: str = field(default="", repr=False)  # what was sent to prove who asks: fronts have echoed it in error pages


class _Budget(stop_base):
    """The seconds that all tries of one read may spend on the network; tenacity stops when they are gone."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self.left < LEAST_TIME


def _always() -> None:
    pass


class Transport:
    """One cluster's API: each call inside `lock()`; a write calls `guard()` there just before it leaves."""

    def __init__(
        self,
        name: str,
        base_url: str,
        credentials: Credentials,
        *,
        timeout: float = 25.0,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        max_reply: int = MAX_REPLY,
        lock: Lock = nullcontext,
        guard: Callable[[], None] = _always,
    ) -> None:
        self.name = name
        self._base_url = base_url.rstrip("/")
        self._credentials = credentials
        self._timeout = timeout
        self._verify, self._cert = verify, cert
        self._max_reply = max_reply
        self._lock, self._guard = lock, guard
        if verify is False:  # said once where it was decided, not at each request
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def read(self, path: str, params: Params = (), *, login: str | None = None) -> bytes:
        """GET as that user. Raises Unreachable, NoAnswer, BadReply, Refused, TokenRefused, NotFound."""
        return self._try_read(lambda reply: reply.body, path, params, login, TRIES, listing=False)

    def read_json(
        self,
        path: str,
        params: Params = (),
        *,
        parse: Callable[[Any], T],
        login: str | None = None,
        tries: int = TRIES,
    ) -> T:
        """GET of a JSON document, by whoever may see it, as `parse` reads it; its ValueError becomes BadReply.

        Raises as `read` does.
        """
        return self.read_as(path, params, parse=lambda body: parse(decode(body)), login=login, tries=tries)

    def read_as(
        self,
        path: str,
        params: Params = (),
        *,
        parse: Callable[[bytes], T],
        login: str | None = None,
        tries: int = TRIES,
    ) -> T:
        """The same, where `parse` reads the bytes that came."""

        def understand(reply: Reply) -> T:
            try:
                return parse(reply.body)
            except ValueError as error:
                raise BadReply(f"{self._at('GET', path)}: {error}: {_excerpt(reply)}") from error

        return self._try_read(understand, path, params, login, tries, listing=True)

    def write(self, method: str, path: str, params: Params = (), *, login: str, payload: Any = None) -> bytes:
        """POST or DELETE, sent once or not at all.

        Raises Unreachable, NoAnswer, Refused, TokenRefused, NotFound, and whatever the guard raises.
        """
        headers = next(self._credentials.headers(login))
        return self._once(method, path, params, headers, payload, _Budget(self._timeout)).body

    def write_json(self, method: str, path: str, params: Params = (), *, login: str, payload: Any = None) -> Any:
        """The same, where the reply is JSON: anything else is NoAnswer."""
        body = self.write(method, path, params, login=login, payload=payload)
        try:
            return decode(body)
        except ValueError as error:
            raise NoAnswer(f"{self._at(method, path)}: {error}: {_excerpt(Reply(200, body))}") from error

    def _try_read(
        self,
        parse: Callable[[Reply], T],
        path: str,
        params: Params,
        login: str | None,
        tries: int,
        *,
        listing: bool,
    ) -> T:
        budget, fixed = _Budget(self._timeout), list(params)
        again = retry_if_exception(
            lambda error: isinstance(error, (Unreachable, NoAnswer, BadReply)) and not isinstance(error, ReplyTooLarge)
        )
        for attempt in Retrying(
            retry=again, stop=stop_after_attempt(tries) | budget, wait=wait_random(0.05, 0.3), reraise=True
        ):
            with attempt:
                return parse(self._ask(path, fixed, login, budget, listing=listing))
        raise AssertionError("tenacity ended without an answer and without an error")

    def _ask(self, path: str, params: Params, login: str | None, budget: _Budget, *, listing: bool) -> Reply:
        """GET in the names that may ask, in turn, until one is not refused for who it is."""
        refusal: TokenRefused | None = None
        for headers in self._credentials.headers(login, listing=listing):
            try:
                return self._once("GET", path, params, headers, None, budget)
            except TokenRefused as error:
                refusal = refusal or error
        raise refusal or TokenRefused(f"{self._at('GET', path)}: nobody may ask")

    def _once(self, method: str, path: str, params: Params, headers: Headers, payload: Any, budget: _Budget) -> Reply:
        with self._lock():
            if method != "GET":
                self._guard()
            began = time.monotonic()
            try:
                reply = self._exchange(method, path, params, headers, payload, budget.left)
            finally:
                budget.left -= time.monotonic() - began
        log.debug("%s: %d in %.0f ms", self._at(method, path), reply.status, 1e3 * (time.monotonic() - began))
        return self._judge(method, path, reply)

    def _exchange(
        self,
        method: str,
        path: str,
        params: Params,
        headers: Headers,
        payload: Any,
        seconds: float,
    ) -> Reply:
        exchange, heard = Exchange(seconds), False
        try:
            with requests.Session() as session:
                session.trust_env = False
                for scheme in ("http://", "https://"):
                    session.mount(scheme, BoundedAdapter(exchange))
                with session.request(
                    method,
                    self._base_url + path,
                    params=list(params),
                    json=payload,
                    headers={**COMMON_HEADERS, **headers},
                    timeout=(min(seconds, CONNECT_TIMEOUT), seconds),
                    verify=self._verify,
                    cert=self._cert,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    heard = True
                    secret = headers.get("Authorization", "").rpartition(" ")[2]
                    return Reply(response.status_code, self._body(method, path, response), secret)
        except (OSError, ValueError, urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
            self._fail(method, path, error, sent=exchange.sent or heard, heard=heard)

    def _body(self, method: str, path: str, response: requests.Response) -> bytes:
        pieces, size = [], 0
        for piece in response.iter_content(64 << 10):
            pieces.append(piece)
            size += len(piece)
            if size > self._max_reply:
                message = f"{self._at(method, path)}: the reply is larger than {self._max_reply} bytes"
                raise ReplyTooLarge(message) if method == "GET" else NoAnswer(message)
        return b"".join(pieces)

    def _fail(self, method: str, path: str, error: Exception, *, sent: bool, heard: bool) -> NoReturn:
        message = f"{self._at(method, path)}: {reason(error)}"
        log.debug("%s", message)
        if not sent:
            raise Unreachable(message) from error
        if heard and method == "GET":
            raise BadReply(message) from error
        raise (ConnectionCut if isinstance(cause(error), CUTS) else NoAnswer)(message) from error

    def _judge(self, method: str, path: str, reply: Reply) -> Reply:
        status = reply.status
        if 200 <= status < 300:
            return reply
        detail = _detail(reply)
        words = _line(detail, 500)
        message = f"{self._at(method, path)}: HTTP {status}: {words or _excerpt(reply)}"
        if status == 401 or (status == 403 and words in ABOUT_TOKENS):
            raise TokenRefused(message, status, detail)
        if status == 404:
            raise NotFound(message, status, detail)
        if status in REFUSALS:
            raise Refused(message, status, detail)
        if method == "GET":
            raise ServerFault(message, status)
        raise NoAnswer(message, detail)

    def _at(self, method: str, path: str) -> str:
        return f"cluster {self.name}: {method} {path}"


def _detail(reply: Reply) -> str:
    """FastAPI's `detail` or the `message` of OAR 2.5, "" where there is none."""
    try:
        body = decode(reply.body)
        detail = body["detail"] if "detail" in body else body["message"]
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
    return _without(reply.secret, detail if isinstance(detail, str) else json.dumps(detail))


def _excerpt(reply: Reply) -> str:
    # The secret goes first: cut off, it would not be recognized.
    text = _without(reply.secret, reply.body[:65536].decode("utf-8", "replace"))
    return _line(text[:400], 200) or "(empty)"


def _without(secret: str, text: str) -> str:
    return text.replace(secret, "********") if secret else text


def _line(text: str, length: int) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(plain.split())[:length]


def cause(error: BaseException) -> BaseException:
    """What is at the bottom: requests and urllib3 wrap it several times."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, http.client.HTTPException):
            return link
        if isinstance(link, OSError) and not isinstance(link, requests.RequestException):
            return link
        link = link.__cause__ or link.__context__
    return error


def reason(error: BaseException) -> str:
    """The cause at the bottom, in the system's words."""
    found = cause(error)
    said = found.strerror if isinstance(found, OSError) and not isinstance(found, http.client.HTTPException) else None
    return _line(said or str(found) or type(found).__name__, 200)
