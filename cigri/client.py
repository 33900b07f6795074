"""The API as the users' commands reach it: over the Unix socket, or over TCP.

Nothing of the server is imported here, and requests only when something is sent: the commands start with this.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from cigri.config import ClientSettings
from cigri.errors import CigriError, Fault

if TYPE_CHECKING:
    import requests

Json = Any

NDJSON = "application/x-ndjson"
BLOCK = 1 << 18  # bytes of an upload that are sent together
RETRIES = (1.0, 2.0, 5.0)  # seconds before a submission is sent again
SUBMISSION_TIMEOUT = 600.0  # a million tasks take their time


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
    """One user's view of the API. Close it, or use it as a context."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._session: requests.Session | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            self._session.close()
            self._session = None

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
        return self._json(self._send("GET", path, query))

    def body(self, path: str, **query: object) -> Iterator[bytes]:
        """The answer as it came, in pieces: for --dump."""
        answer = self._send("GET", path, query, stream=True)
        with answer:
            yield from self._pieces(answer)

    def delete(self, path: str, **query: object) -> Json:
        """End the thing at this path."""
        return self._json(self._send("DELETE", path, query))

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

    # --- how it is asked

    def _upload(
        self, path: str, query: Mapping[str, str], body: Callable[[], Iterator[bytes]], kind: str = NDJSON
    ) -> Json:
        """Send it, and send it again under the same key when the answer was lost: it is done once."""
        headers = {"Content-Type": kind, "Idempotency-Key": uuid.uuid4().hex}
        sent = False
        for pause in (*RETRIES, None):
            try:
                answer = self._send("POST", path, query, data=body(), headers=headers, timeout=SUBMISSION_TIMEOUT)
                return self._json(answer)
            except (ApiUnreachable, ApiSilent, ApiRefused) as error:
                again = isinstance(error, ApiSilent) or (isinstance(error, ApiRefused) and error.status == 503)
                sent = sent or again
                if pause is None or not (again or (sent and isinstance(error, ApiUnreachable))):
                    raise
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, object],
        *,
        data: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 0.0,
        stream: bool = False,
    ) -> requests.Response:
        import requests

        words = urlencode({key: value for key, value in query.items() if value is not None})
        url = self._base() + self._settings.api_base + path + (f"?{words}" if words else "")
        patience = max(timeout, self._settings.api_timeout)
        try:
            answer = self._http().request(
                method, url, data=data, headers=headers, timeout=patience, stream=stream, allow_redirects=False
            )
        except requests.RequestException as error:
            raise self._failure(error) from error
        if answer.status_code >= 300:
            with answer:
                raise self._refusal(answer)
        return answer

    def _base(self) -> str:
        return "http+unix://api" if self._settings.api_socket else self.place

    def _http(self) -> requests.Session:
        if self._session is None:
            import requests

            from cigri.unix_adapter import UnixAdapter

            self._session = requests.Session()
            if self._settings.api_socket:
                self._session.trust_env = False
                self._session.mount("http+unix://", UnixAdapter(self._settings.api_socket))
            self._session.verify = self._settings.api_verify_ssl
        return self._session

    def _failure(self, error: requests.RequestException) -> ApiError:
        import requests
        from urllib3.exceptions import MaxRetryError, NameResolutionError, NewConnectionError

        inner = error.args[0] if error.args else error
        reason = inner.reason if isinstance(inner, MaxRetryError) else None
        if isinstance(reason, NewConnectionError | NameResolutionError):
            return ApiUnreachable(self._where_to_look(_last_words(reason)))
        if isinstance(error, requests.ConnectTimeout):
            return ApiUnreachable(self._where_to_look("no answer"))
        if isinstance(error, requests.exceptions.SSLError):
            return ApiUnreachable(self._where_to_look(_last_words(error)))
        if isinstance(error, requests.Timeout):
            return ApiSilent(f"the API server at {self.place} took too long to answer: try again in a minute")
        return ApiSilent(f"the API server at {self.place} hung up without an answer: {_last_words(error)}")

    def _where_to_look(self, why: str) -> str:
        file = self._settings.path or "the defaults, as there is no /etc/cigri/api-clients.conf"
        return (
            f"no API server at {self.place}: {why}\n"
            f"Is it running (systemctl status cigri-api)? The address comes from {file};\n"
            "for a local grid, `. DIR/env.sh` first."
        )

    def _refusal(self, answer: requests.Response) -> ApiError:
        try:
            found = json.loads(answer.content)
            faults = [Fault(one["path"], one["message"], one.get("value")) for one in found.get("faults", [])]
            return ApiRefused(answer.status_code, found["title"], found["message"], faults)
        except (ValueError, KeyError, TypeError, AttributeError):
            words = f"{answer.status_code} {answer.reason}"
            return ApiSilent(f"{self.place} does not answer like an API server of the grid: {words}")

    def _json(self, answer: requests.Response) -> Json:
        with answer:
            try:
                return json.loads(answer.content)
            except ValueError as error:
                raise ApiSilent(f"{self.place} answered something that is not JSON: {error}") from error

    def _pieces(self, answer: requests.Response) -> Iterator[bytes]:
        import requests

        try:
            yield from answer.iter_content(BLOCK)
        except requests.RequestException as error:
            raise ApiSilent(f"the answer of {self.place} was cut short: {_last_words(error)}") from error


def _last_words(error: BaseException) -> str:
    """What the operating system said, without what was wrapped around it."""
    text = str(error)
    return text.rpartition(": ")[2].strip("')>") or text


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
