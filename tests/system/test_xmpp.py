"""XMPP through a real server: Debian's prosody, where it is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cigri.core.telling import Letter
from cigri.notify.base import ServerAway
from cigri.notify.xmpp import XmppAccount, XmppSender, available

PROSODY = shutil.which("prosody") or "/usr/bin/prosody"
pytestmark = pytest.mark.skipif(
    not (Path(PROSODY).exists() and shutil.which("openssl") and available()),
    reason="prosody, openssl or slixmpp is not installed",
)

CONFIG = """
run_as_root = true
daemonize = false
pidfile = "{folder}/pid"
data_path = "{folder}/data"
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
s2s_ports = {{}}
modules_enabled = {{ "saslauth", "tls", "offline", "ping", "roster", "disco" }}
modules_disabled = {{ "s2s", "http" }}
c2s_require_encryption = true
authentication = "internal_plain"
storage = "internal"
log = {{ info = "{folder}/log" }}
VirtualHost "localhost"
    ssl = {{ certificate = "{folder}/cert.pem"; key = "{folder}/key.pem"; }}
"""


@dataclass(frozen=True)
class Server:
    folder: Path
    port: int

    def account(self, **changes: str) -> XmppAccount:
        whole = {"identity": "grid@localhost", "password": "s3cret", "ca_file": str(self.folder / "cert.pem")} | changes
        return XmppAccount("127.0.0.1", self.port, **whole)

    @property
    def kept(self) -> str:
        """What waits for alice, who is not online."""
        file = self.folder / "data" / "localhost" / "offline" / "alice.list"
        return file.read_text() if file.exists() else ""


@pytest.fixture(scope="module")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prosody")
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    accounts = folder / "data" / "localhost" / "accounts"
    accounts.mkdir(parents=True)
    for name in ("grid", "alice"):
        (accounts / f"{name}.dat").write_text('return { ["password"] = "s3cret"; };\n')
    key, cert = folder / "key.pem", folder / "cert.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert)]
    make += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(make, check=True, capture_output=True)
    (folder / "prosody.cfg.lua").write_text(CONFIG.format(folder=folder, port=port))
    process = subprocess.Popen([PROSODY, "-F", "--config", str(folder / "prosody.cfg.lua")], stdout=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield Server(folder, port)
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.1)


def letter(number: int, to: str = "alice@localhost") -> Letter:
    return Letter(number, to, f"<cigri.{number}@localhost>", f"subject {number}", "body <&>\nend", "alice")


def test_messages_arrive_under_their_ids(prosody) -> None:
    results = list(XmppSender(prosody.account()).deliver([letter(1), letter(2)]))
    assert [failure for _, failure in results] == [None, None]
    assert "subject 1" in prosody.kept and "subject 2" in prosody.kept
    assert "cigri.1@localhost" in prosody.kept


def test_a_message_to_nobody_comes_back_and_the_others_go(prosody) -> None:
    results = dict(XmppSender(prosody.account()).deliver([letter(3, "nobody@localhost"), letter(4)]))
    assert results[letter(4)] is None
    assert results[letter(3, "nobody@localhost")].refused
    assert "subject 4" in prosody.kept


@pytest.mark.parametrize("changes", [{"password": "wrong"}, {"ca_file": ""}])
def test_a_login_or_a_certificate_that_is_not_good_sends_nothing(prosody, changes) -> None:
    with pytest.raises(ServerAway) as trouble:
        list(XmppSender(prosody.account(**changes)).deliver([letter(9)]))
    assert "s3cret" not in str(trouble.value) and "wrong" not in str(trouble.value)
    assert "subject 9" not in prosody.kept
