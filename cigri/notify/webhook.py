"""Webhooks: one POST of the JSON that Slack and Mattermost accept."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from urllib.parse import SplitResult, urlsplit

from cigri import __version__
from cigri.core.telling import Channel, Letter
from cigri.notify.base import NotDelivered, Result, Sender
from cigri.notify.identities import address_allowed, host_allowed

CONNECT_TIMEOUT = 5.0
TIMEOUT = 10.0  # seconds for the whole exchange
LONGEST = 12000  # characters; Mattermost takes 16383
TOO_MANY, TOO_LATE = 429, 408


class WebhookSender(Sender):
    channel = Channel.WEBHOOK

    def __init__(self, hosts: Sequence[str] = (), timeout: float = TIMEOUT) -> None:
        self._hosts = hosts
        self._timeout = timeout
        self._tls = ssl.create_default_context()

    def deliver(self, letters: Iterable[Letter]) -> Iterator[Result]:
        silent: set[str] = set()
        for letter in letters:
            parts = urlsplit(letter.to)
            if parts.netloc in silent:  # one that does not answer is waited for once, not once per letter
                yield letter, NotDelivered("its host does not answer")
                continue
            failure = None
            try:
                failure = self._post(parts, payload(letter), letter.message_id)
            except (OSError, http.client.HTTPException) as error:
                silent.add(parts.netloc)
                failure = NotDelivered(f"{parts.hostname}: {error or type(error).__name__}")
            yield letter, failure

    def _post(self, parts: SplitResult, body: bytes, message_id: str) -> NotDelivered | None:
        host = parts.hostname or ""
        if not host_allowed(host, self._hosts):
            return NotDelivered(f"webhooks to {host} are not allowed on this grid", refused=True)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"cigri/{__version__}",
            "X-Message-Id": message_id,
            "Connection": "close",
        }
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        with closing(self._connection(parts.scheme, host, port)) as connection:
            assert connection.sock is not None
            with _deadline(connection.sock, self._timeout):
                connection.request("POST", target, body, headers)
                answer = connection.getresponse()
                return _failure(host, answer.status)

    def _connection(self, scheme: str, host: str, port: int) -> http.client.HTTPConnection:
        """A connection to an address that was looked at: the name is resolved once."""
        sock = self._connect(host, port)
        if scheme == "http":
            connection = http.client.HTTPConnection(host, port)
            connection.sock = sock
            return connection
        secure = http.client.HTTPSConnection(host, port, context=self._tls)
        wrapped = self._tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        try:
            with _deadline(wrapped, self._timeout):
                wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        secure.sock = wrapped
        return secure

    def _connect(self, host: str, port: int) -> socket.socket:
        trouble: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            if not self._hosts and not address_allowed(str(address[0])):
                trouble = OSError(f"{host} is an address that webhooks may not reach")
                continue
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(CONNECT_TIMEOUT)
                sock.connect(address)
                sock.settimeout(self._timeout)
            except OSError as error:
                sock.close()
                trouble = error
                continue
            return sock
        raise trouble or OSError(f"{host} has no address")


def payload(letter: Letter) -> bytes:
    """What Slack and Mattermost show: `text`, with the subject in bold letters."""
    body = letter.body if len(letter.body) <= LONGEST else f"{letter.body[:LONGEST]}\n..."
    return json.dumps({"text": f"*{_plain(letter.subject)}*\n{_plain(body)}", "username": "CiGri"}).encode()


def _plain(text: str) -> str:
    """Text in which nothing is a link or calls anybody (<!channel>, @all)."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"@(?=[A-Za-z])", "@\u200b", text)


def _failure(host: str, status: int) -> NotDelivered | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return NotDelivered(f"{host} redirects ({status}), which is not followed", refused=True)
    return NotDelivered(f"{host} answers {status}", refused=status < 500 and status not in (TOO_MANY, TOO_LATE))


@contextmanager
def _deadline(sock: socket.socket, seconds: float) -> Iterator[None]:
    """Cut the connection after some time: a server may send a byte now and then for ever."""

    def cut() -> None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
