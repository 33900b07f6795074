"""The client against servers that misbehave: real sockets that refuse, hang up, and talk nonsense."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cigri import client as module
from cigri.client import ApiRefused, ApiSilent, ApiUnreachable, Client
from cigri.config import ClientSettings


class Server:
    """Answers each connection with the next of its answers; None hangs up once the request was read."""

    def __init__(self, path, answers):
        self.requests: list[bytes] = []
        self._answers = answers
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        for answer in self._answers:
            connection, _ = self._listening.accept()
            with connection:
                data = b""
                while not (data.endswith(b"\r\n0\r\n\r\n") or (b"chunked" not in data and b"\r\n\r\n" in data)):
                    data += connection.recv(65536)
                self.requests.append(data)
                if answer is not None:
                    connection.sendall(answer)

    def end(self):
        self._thread.join(20)
        self._listening.close()


def answer(status, content, length=None):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, length or len(body)) + body


@pytest.fixture
def serve(tmp_path):
    servers = []

    def begin(*answers):
        path = str(tmp_path / "api.sock")
        servers.append(Server(path, answers))
        return Client(ClientSettings(api_socket=path)), servers[-1]

    yield begin
    for server in servers:
        server.end()


BUSY = answer(503, {"status": 503, "title": "Service Unavailable", "message": "later"})


def keys(server):
    lines = [line for data in server.requests for line in data.split(b"\r\n")]
    return [line for line in lines if line.startswith(b"Idempotency-Key: ")]


def test_a_lost_answer_is_asked_for_again_under_the_same_key(serve, monkeypatch):
    monkeypatch.setattr(module, "RETRIES", (0.01, 0.01, 0.01))
    client, server = serve(None, BUSY, answer(201, b'{"id": ', length=50), answer(201, {"id": 7}))
    assert client.submit({"name": "x"}, lambda: ["a", "b"]) == {"id": 7}
    assert len(keys(server)) == 4 and len(set(keys(server))) == 1
    assert all(b'{"name": "x"}\n"a"\n"b"\n' in data for data in server.requests)


def test_retries_have_an_end(serve, monkeypatch):
    monkeypatch.setattr(module, "RETRIES", (0.01,))
    client, server = serve(None, None)
    with pytest.raises(ApiSilent, match="hung up"):
        client.submit({}, list)
    assert len(server.requests) == 2


def test_a_refusal_is_final(serve):
    refusal = {
        "status": 400,
        "title": "Error",
        "message": "no",
        "faults": [{"path": "a", "message": "b", "value": None}],
    }
    client, server = serve(answer(400, refusal))
    with pytest.raises(ApiRefused, match="no") as caught:
        client.submit({}, list)
    assert (caught.value.status, str(caught.value.faults[0])) == (400, "a: b") and len(server.requests) == 1


def test_no_server_is_not_tried_again(tmp_path):
    with pytest.raises(ApiUnreachable, match="systemctl status cigri-api"):
        Client(ClientSettings(api_socket=str(tmp_path / "none"))).submit({}, list)
    with pytest.raises(ApiUnreachable, match="http://127.0.0.1:1: Connection refused"):
        Client(ClientSettings(api_socket="", api_host="127.0.0.1", api_port=1)).get("/")


PEM = str(Path(__file__).parents[1] / "clusters" / "tls" / "localhost.pem")  # of tests only: signs itself


@contextmanager
def tls_server(body):
    """Answers the next two connections behind TLS, if they get that far; its port and what arrived."""
    context, arrived = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    context.load_cert_chain(PEM)

    def serve():
        for _ in range(2):
            connection, _ = listening.accept()
            with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                arrived.append(secured.recv(65536))
                secured.sendall(answer(200, body))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], arrived
        thread.join(20)


def test_over_tls_the_certificate_is_verified(monkeypatch, tmp_path):
    token = tmp_path / "token"
    token.write_text("cigri_" + "A" * 43)
    token.chmod(0o600)
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with tls_server({"total": 0}) as (port, arrived):
        settings = ClientSettings(
            api_socket="", api_host="127.0.0.1", api_port=port, api_ssl=True, api_token_file=str(token)
        )
        with pytest.raises(ApiUnreachable, match="certificate verify failed"):
            Client(settings).get("/")
        assert arrived == []  # nor the token
        monkeypatch.setenv("SSL_CERT_FILE", PEM)
        assert Client(settings).get("/") == {"total": 0}
        assert b"Authorization: Bearer cigri_" in arrived[0]


def test_verifying_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with tls_server({"total": 1}) as (port, _):
        settings = ClientSettings(
            api_socket="", api_host="127.0.0.1", api_port=port, api_ssl=True, api_verify_ssl=False
        )
        assert Client(settings).get("/") == Client(settings).get("/") == {"total": 1}


def test_nonsense_is_told_as_such(serve):
    client, _ = serve(answer(200, b"<html>"), answer(404, b"<html>"), answer(302, b""), b"SMTP ready\r\n")
    with pytest.raises(ApiSilent, match="not JSON"):
        client.get("/")
    for _ in range(2):
        with pytest.raises(ApiSilent, match="does not answer like an API server"):
            client.get("/")
    with pytest.raises(ApiSilent, match="hung up"):
        client.get("/")


def test_a_dump_that_is_cut_short_is_an_error(serve):
    client, _ = serve(answer(200, b"{", length=100))
    with pytest.raises(ApiSilent, match="cut short"):
        list(client.body("/"))


def test_a_server_that_takes_too_long(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        with pytest.raises(ApiSilent, match="too long"):
            Client(ClientSettings(api_socket=str(tmp_path / "s"), api_timeout=0.1)).get("/")


def test_a_large_upload_that_is_refused(grid):
    lines = ("x" * 1000 for _ in range(10_000))
    with pytest.raises(ApiRefused, match="There is no campaign 99"):
        grid.client.add_tasks("99", lambda: lines)


def test_an_upload_that_is_too_large(grid):
    """The server hangs up in the middle: its sentence still arrives."""
    lines = ("x" * 1000 + str(number) for number in range(60_000))
    with pytest.raises(ApiRefused, match="API_MAX_BODY"):
        grid.client.submit({"name": "x"}, lambda: lines)
