"""Load sensors that are real commands and a real HTTP server, good ones and others."""

from __future__ import annotations

import http.server
import os
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cigri.clusters.sensor import MOST, SensorFailed, read

IN_TIME = 30.0  # what a good sensor gets: the machine may be busy


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        match self.path:
            case "/load":
                self.reply(200, b"load: 4.5")
            case "/headers":
                self.reply(200, b"0" if not {"Authorization", "Cookie"} & set(self.headers) else b"1")
            case "/moved":
                self.reply(302, b"7", Location="/load")
            case "/slow":
                self.reply(200, b"1", size=100)
                self.server.stop.wait(60)  # type: ignore[attr-defined]
            case "/endless":
                self.reply(200, b"2 " + b"x" * 2 * MOST, size=10**9)
            case _:
                self.reply(404, b"1")

    def reply(self, status: int, body: bytes, size: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(size or len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    stop = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Who reads no further than the limit hangs up."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.stop.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def script(tmp_path: Path):
    def script(body: str) -> str:
        path = tmp_path / "sensor"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return script


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_is_run_as_it_is(script):
    assert read(script('echo "at 2.5 of $#: $1"') + " '; exit 3' $HOME", IN_TIME) == 2.5
    assert read("/bin/cat /proc/loadavg", IN_TIME) >= 0


def test_a_command_has_neither_our_environment_nor_a_terminal(script, monkeypatch):
    monkeypatch.setenv("DATABASE_SECRET", "5")
    assert read(script('echo "${DATABASE_SECRET:-0}"; cat'), IN_TIME) == 0
    pid = read(script("ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat"), IN_TIME)
    assert pid != os.getpgrp(), "a group of its own"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("echo 5; echo first >&2; echo no mount >&2; exit 3", "exit status 3: no mount"),
        ("kill -TERM $$", "signal 15"),
        ("echo none", "no number"),
        ("echo -3", "0 or more"),
    ],
)
def test_a_command_that_gives_no_load(script, body, told):
    with pytest.raises(SensorFailed, match=told):
        read(script(body), IN_TIME)


def test_a_command_that_is_not_there(tmp_path):
    with pytest.raises(SensorFailed, match="No such file"):
        read(f"{tmp_path}/gone", IN_TIME)


def test_a_command_that_hangs_is_killed_with_what_it_started(script, tmp_path):
    hangs = script(f"sleep 600 & echo $! >{tmp_path}/child; echo 1; wait")
    began = time.monotonic()
    with pytest.raises(SensorFailed, match="timed out"):
        read(hangs, 2.0)
    assert time.monotonic() - began < 30
    child = int((tmp_path / "child").read_text())
    end = time.monotonic() + 30
    while alive(child):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_much_output_is_read_no_further(script):
    assert read(script(f"echo 6; head -c {4 * MOST} /dev/zero; head -c {4 * MOST} /dev/zero >&2"), IN_TIME) == 6


def test_a_url(url):
    assert read(f"{url}/load", IN_TIME) == 4.5
    assert read(f"{url}/headers", IN_TIME) == 0, "it gets no token"
    assert read(f"{url}/endless", IN_TIME) == 2


@pytest.mark.parametrize(("path", "told"), [("moved", "302"), ("gone", "404")])
def test_a_url_that_gives_no_load(url, path, told):
    with pytest.raises(SensorFailed, match=told):
        read(f"{url}/{path}", IN_TIME)


def test_a_url_that_hangs(url):
    with pytest.raises(SensorFailed, match="timed out"):
        read(f"{url}/slow", 0.5)


def test_a_url_where_nobody_listens():
    with pytest.raises(SensorFailed, match="refused"):
        read("http://127.0.0.1:1/", IN_TIME)
