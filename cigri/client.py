"""The API as the users' commands reach it: over the Unix socket, or over TCP.

Nothing of the server is imported here, and the standard library's HTTP client does: the commands start with
this, and requests would take longer to import than most of them run.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlencode

from cigri.config import ClientSettings
from cigri.errors import CigriError, ConfigError, Fault

Json = Any

log = logging.getLogger(__name__)

NDJSON = "application/x-ndjson"
BLOCK = 1 << 18  # bytes that are sent or read together
RETRIES = (1.0, 2.0, 5.0)  # seconds before a submission is sent again
LONGEST_TOKEN = 8192
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LONG_TIMEOUT = 600.0  # submitting or cancelling a million tasks takes its time


class ApiError(CigriError):
    """The API did not do what was asked."""


class ApiUnreachable(ApiError):
    """There is no API server where one was expected: nothing was sent."""


class ApiSilent(ApiError):
    """The request was sent and the answer did not come, or makes no sense: it may have been done."""


class ApiRefused(ApiError):
    """The API server said no. The message is its sentence; `status` is HTTP's."""

    def __init__(self, status: int, title: str, message: str, faults: list[Fault] | None = None) -> None:
        self.status, self.title, self.faults = status, title, faults or []
        super().__init__(message)


class Client:
    """One user's view of the API. Every request has a connection of its own."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings

    @property
    def place(self) -> str:
        """Where the API server is expected."""
        settings = self._settings
        if settings.api_socket:
            return settings.api_socket
        scheme = "https" if settings.api_ssl else "http"
        host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
        return f"{scheme}://{host}:{settings.api_port}"

    # --- what the API has

    def get(self, path: str, **query: object) -> Json:
        """What is at this path."""
        return self._ask("GET", path, query)

    def body(self, path: str, **query: object) -> Iterator[bytes]:
        """The answer as it came, in pieces: for --dump."""
        with self._answer("GET", path, query) as answer:
            try:
                while piece := answer.read(BLOCK):
                    yield piece
                if answer.length:  # read(n) does not complain of an early end
                    raise http.client.IncompleteRead(b"", answer.length)
            except (http.client.HTTPException, OSError) as error:
                raise ApiSilent(f"the answer of {self.place} was cut short: {_words(error)}") from error

    def delete(self, path: str, **query: object) -> Json:
        """End the thing at this path."""
        return self._ask("DELETE", path, query, timeout=LONG_TIMEOUT)

    def submit(self, jdl: object, lines: Callable[[], Iterable[str]], *, dry_run: bool = False) -> Json:
        """A new campaign: the JDL without its tasks, and their lines, which are read while they are sent."""
        query = {"dry_run": "true"} if dry_run else {}
        return self._upload("/campaigns", query, lambda: _blocks(_encoded([jdl], lines())))

    def submit_text(self, text: str, *, dry_run: bool = False) -> Json:
        """A new campaign from a JDL as it stands."""
        query = {"dry_run": "true"} if dry_run else {}
        return self._upload(
            "/campaigns", query, lambda: iter([text.encode("utf-8", "surrogatepass")]), "application/json"
        )

    def add_tasks(self, campaign_id: str, lines: Callable[[], Iterable[str]]) -> Json:
        """More tasks for a campaign."""
        return self._upload(f"/campaigns/{campaign_id}/jobs", {}, lambda: _blocks(_encoded([], lines())))

    def post(self, path: str, content: object) -> Json:
        """Make something of this content. It is sent once."""
        body = json.dumps(content).encode()
        return self._ask("POST", path, {}, body=iter([body]), headers={"Content-Type": "application/json"})

    # --- how it is asked

    def _upload(
        self, path: str, query: Mapping[str, object], body: Callable[[], Iterator[bytes]], kind: str = NDJSON
    ) -> Json:
        """Send it, and send it again under the same key when the answer was lost: it is done once."""
        headers = {"Content-Type": kind, "Idempotency-Key": uuid.uuid4().hex}
        sent = False
        for pause in (*RETRIES, None):
            try:
                return self._ask("POST", path, query, body=body(), headers=headers, timeout=LONG_TIMEOUT)
            except (ApiUnreachable, ApiSilent, ApiRefused) as error:
                lost = isinstance(error, ApiSilent) or getattr(error, "status", 0) == 503
                sent = sent or lost
                if pause is None or not (lost or (sent and isinstance(error, ApiUnreachable))):
                    raise
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _ask(self, method: str, path: str, query: Mapping[str, object], **more: Any) -> Json:
        with self._answer(method, path, query, **more) as answer:
            try:
                return json.loads(answer.read())
            except ValueError as error:
                raise ApiSilent(f"{self.place} answered something that is not JSON: {error}") from error
            except (http.client.HTTPException, OSError) as error:
                raise ApiSilent(f"the answer of {self.place} was cut short: {_words(error)}") from error

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, object],
        *,
        body: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 0.0,
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request, if it is a good one."""
        words = urlencode({key: value for key, value in query.items() if value is not None})
        target = self._settings.api_base + path + (f"?{words}" if words else "")
        began = time.monotonic()
        with closing(self._connection(max(timeout, self._settings.api_timeout))) as connection:
            try:
                connection.connect()
            except OSError as error:
                raise ApiUnreachable(self._where_to_look(_words(error))) from error
            try:
                answer = self._exchange(connection, method, target, body, {**(headers or {}), **self._proof()})
            except TimeoutError as error:
                raise ApiSilent(f"the API server at {self.place} takes too long: try again in a minute") from error
            except (http.client.HTTPException, OSError) as error:
                raise ApiSilent(f"the API server at {self.place} hung up: {_words(error)}") from error
            # Without its query, which has the URL when a webhook is unsubscribed.
            log.debug("%s %s: %d after %.0f ms", method, path, answer.status, 1e3 * (time.monotonic() - began))
            if answer.status >= 300:
                raise self._refusal(answer)
            yield answer

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: Iterator[bytes] | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        # A server that refuses a body before its end says why, then hangs up: that is an answer, too.
        try:
            connection.request(method, target, body=body, headers=headers, encode_chunked=body is not None)
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:
                raise
        return connection.getresponse()

    def _proof(self) -> dict[str, str]:
        """The personal token, where no socket tells who asks. Raises ConfigError where it would be seen by others."""
        settings = self._settings
        if settings.api_socket or not settings.api_token_file:
            return {}
        path = os.path.expanduser(settings.api_token_file)
        try:
            with open(path, encoding="ascii") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise ConfigError(f"the token file {path} can be read by others: chmod 600 {path}")
                token = file.read(LONGEST_TOKEN).strip()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"the token file {path} cannot be read: {_words(error)}") from None
        if not token.isprintable() or " " in token:
            raise ConfigError(f"the token file {path} does not hold one token")
        if not settings.api_ssl and settings.api_host not in LOOPBACK:
            raise ConfigError(f"the token in {path} is not sent to {self.place} without TLS: set API_SSL")
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        settings = self._settings
        if settings.api_socket:
            return UnixConnection(settings.api_socket, timeout)
        if not settings.api_ssl:
            return http.client.HTTPConnection(settings.api_host, settings.api_port, timeout=timeout)
        context = ssl.create_default_context()
        if not settings.api_verify_ssl:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(settings.api_host, settings.api_port, timeout=timeout, context=context)

    def _where_to_look(self, why: str) -> str:
        file = self._settings.path or "the defaults, as there is no /etc/cigri/api-clients.conf"
        return (
            f"no API server at {self.place}: {why}\n"
            f"Is it running (systemctl status cigri-api)? The address comes from {file};\n"
            "for a local grid, `. DIR/env.sh` first."
        )

    def _refusal(self, answer: http.client.HTTPResponse) -> ApiError:
        try:
            found = json.loads(answer.read())
            faults = [Fault(one["path"], one["message"], one.get("value")) for one in found.get("faults", [])]
            return ApiRefused(answer.status, found["title"], found["message"], faults)
        except (ValueError, KeyError, TypeError, AttributeError, OSError, http.client.HTTPException):
            words = f"{answer.status} {answer.reason}"
            return ApiSilent(f"{self.place} does not answer like an API server of the grid: {words}")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._patience = timeout

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(self._patience)
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        self.sock = connection


def _words(error: BaseException) -> str:
    """What the operating system said."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _encoded(first: Iterable[object], lines: Iterable[str]) -> Iterator[bytes]:
    for value in first:
        yield json.dumps(value).encode()
    encode = json.encoder.encode_basestring_ascii  # what json.dumps does with a string, without the way there
    for line in lines:
        yield encode(line).encode("ascii")


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines joined into blocks of some size."""
    block: list[bytes] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line) + 1
        if size >= BLOCK:
            yield b"\n".join(block) + b"\n"
            block, size = [], 0
    if block:
        yield b"\n".join(block) + b"\n"
