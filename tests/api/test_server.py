"""The server as a process: how it starts, what it survives, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from cigri.client import ApiRefused, Client
from cigri.config import ClientSettings


@pytest.fixture
def serve(tmp_path, engine, postgres):
    """Start `python -m cigri.api.server` with this configuration."""
    started = []
    url = engine.url

    def begin(wait=True, **keys):
        keys = {
            "DATABASE_HOST": url.query["host"], "DATABASE_PORT": url.query["port"], "DATABASE_NAME": url.database,
            "DATABASE_USER_NAME": url.username, "DATABASE_SSL_MODE": "disable", "API_SOCKET": tmp_path / "api.sock",
            "ADMISSION_RULES_DIRECTORY": "none",
        } | keys  # fmt: skip
        file = tmp_path / "cigri.conf"
        file.write_text("".join(f'{key} = "{value}"\n' for key, value in keys.items()))
        command = [sys.executable, "-m", "cigri.api.server", "--config", str(file)]
        path, deadline = str(keys["API_SOCKET"]), time.monotonic() + 20
        before = number_of(path)
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        started.append(process)
        while wait and process.poll() is None and number_of(path) in (0, before) and time.monotonic() < deadline:
            time.sleep(0.05)
        return process, path

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def number_of(path):
    """What tells a socket from another with the same name; 0 for none."""
    return os.stat(path).st_ino if os.path.exists(path) else 0


def end(process, number=signal.SIGTERM):
    began = time.monotonic()
    process.send_signal(number)
    words = process.communicate(timeout=20)[1]
    return process.returncode, time.monotonic() - began, words


def test_a_second_server_takes_the_socket_over_and_the_first_ends_quickly_and_cleanly(serve):
    first, path = serve()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
    first.send_signal(signal.SIGHUP)
    with socket.socket(socket.AF_UNIX) as idle:  # one that keeps its connection
        idle.connect(path)
        second, _ = serve()
        code, seconds, words = end(first)
    assert code == 0 and seconds < 4 and "Traceback" not in words
    assert "items" in Client(ClientSettings(api_socket=path)).get("/campaigns")
    assert end(second)[0] == 0 and not os.path.exists(path)


def test_a_stale_socket_is_replaced(serve):
    process, path = serve()
    process.kill()
    process.wait()
    assert os.path.exists(path)
    process, _ = serve()
    assert end(process, signal.SIGINT)[0] == 0 and not os.path.exists(path)


def test_it_tells_what_is_wrong_with_its_configuration(serve, tmp_path):
    cases = [
        ({"API_SOCKET": "none"}, "API_LISTEN"),
        ({"API_SOCKET": tmp_path / "no/such/folder"}, "No such file"),
    ]
    for keys, words in cases:
        process, _ = serve(wait=False, **keys)
        told = process.communicate(timeout=20)[1]
        assert process.returncode == 1 and words in told and "Traceback" not in told


def test_a_database_that_is_away_is_503(serve):
    _, path = serve(DATABASE_PORT=1)
    with pytest.raises(ApiRefused, match="database cannot be reached") as caught:
        Client(ClientSettings(api_socket=path)).get("/campaigns")
    assert caught.value.status == 503


def test_many_callers_at_once(api):
    codes = []

    def look():
        for _ in range(5):
            codes.append(api.ask("GET", "/campaigns", user="someone").status)

    threads = [threading.Thread(target=look) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 100
