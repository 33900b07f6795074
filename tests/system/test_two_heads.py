"""Two head nodes on one database, each in a network namespace of its own: one dies, or loses its network."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cigri.local import processes

log = logging.getLogger(__name__)

PATIENCE = 120.0
TAKEOVER = 15.0  # seconds, promised
SLOW_MACHINE = 10.0  # that tests allow besides
TASKS = 60
DUTIES = {"metascheduler", "updater", "nikita", "judas", "runner a"}

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2: network namespaces"
)


class Relay(socketserver.BaseRequestHandler):
    """Hands one connection on to where the server leads; it goes on when only the other side's network is gone."""

    def handle(self) -> None:
        server: Any = self.server
        with socket.socket(server.inside_family) as inside:
            inside.connect(server.inside)
            back = threading.Thread(target=copy, args=(inside, self.request), daemon=True)
            back.start()
            copy(self.request, inside)
            back.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class Gate(socketserver.ThreadingTCPServer):
    """A port of the network that leads to a server of this machine."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: str, family: int, inside: Any) -> None:
        super().__init__((address, 0), Relay)
        self.inside_family, self.inside = family, inside
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Net:
    """A bridge of this machine, and heads behind it."""

    def __init__(self) -> None:
        self.mark = f"{os.getpid() % 65536:x}"
        third = os.getpid() % 250 + 1
        self.address = f"10.213.{third}.1"
        self._bridge, self._heads = f"cg{self.mark}b", 0
        ip("link", "add", self._bridge, "type", "bridge")
        ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
        ip("link", "set", self._bridge, "up")

    def add(self) -> str:
        """A namespace with a way to the bridge; its name, which is that of the outer end of the way, too."""
        self._heads += 1
        name = f"cg{self.mark}h{self._heads}"
        ip("netns", "add", name)
        ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", name, "master", self._bridge, "up")
        ip("-n", name, "addr", "add", f"{self.address[:-1]}{self._heads + 1}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")
        return name

    def close(self) -> None:
        for number in range(1, self._heads + 1):
            subprocess.run(["ip", "netns", "del", f"cg{self.mark}h{number}"], capture_output=True)
        subprocess.run(["ip", "link", "del", self._bridge], capture_output=True)


class Head:
    """A head node: an almighty of its own in a network of its own."""

    def __init__(self, name: str, config: Path) -> None:
        self.name = name
        environ = {**os.environ, "CIGRICONFFILE": str(config), "PYTHONPATH": str(processes.SOURCE)}
        command = ["ip", "netns", "exec", name, sys.executable, "-m", "cigri.daemons.almighty"]
        self.process = subprocess.Popen(command, env=environ)

    def pids(self) -> set[int]:
        """Everything that runs there."""
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True).stdout
        return {int(word) for word in listed.split()}

    def kill(self) -> None:
        """The machine is switched off."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def heads(whole) -> Iterator[Any]:
    """A grid with cluster a, and what starts heads for it."""
    net, gates, started = Net(), [], []
    try:
        whole.up({"a": 4})
        whole.local.daemons.stop()
        database = whole.local.layout.database
        gates.append(Gate(net.address, socket.AF_UNIX, f"{database}/.s.PGSQL.5432"))
        inside = urlsplit((whole.local.layout.cluster("a") / "url").read_text().strip())
        gates.append(Gate(net.address, socket.AF_INET, (inside.hostname, inside.port)))
        url = f"http://{net.address}:{gates[1].port}{inside.path}"
        whole.command("gridadmin", "cluster", "set", "a", "--api-url", url, "--same-cluster")

        def start() -> Head:
            name = net.add()
            changed = {
                "DATABASE_HOST": net.address, "DATABASE_PORT": str(gates[0].port),
                "PID_FILE": str(whole.folder / f"{name}.pid"), "LOG_FILE": str(whole.folder / f"{name}.log"),
                "DUTY_TIMEOUT": "12",
            }  # fmt: skip
            kept = [line for line in whole.local.layout.config.read_text().splitlines()
                    if line.split(" = ")[0] not in changed]  # fmt: skip
            config = whole.folder / f"{name}.conf"
            config.write_text("\n".join([*kept, *(f'{key} = "{value}"' for key, value in changed.items()), ""]))
            started.append(Head(name, config))
            return started[-1]

        yield start
    finally:
        for head in started:
            head.kill()
        for gate in gates:
            gate.shutdown()
            gate.server_close()
        net.close()


def holders(whole) -> dict[str, int]:
    """Who has each duty: its pid. Both heads are on this machine."""
    return dict(whole.rows("SELECT name, pid FROM duties"))


def held_by(whole, head: Head) -> bool:
    there, pids = holders(whole), head.pids()
    return there.keys() >= DUTIES and all(there[duty] in pids for duty in DUTIES)


def waiting(whole) -> Any:
    """What a failed test wants to know."""
    return whole.rows("SELECT * FROM duties"), whole.rows(
        "SELECT pid, application_name, state, wait_event, left(query, 90), now() - state_change, pg_blocking_pids(pid)"
        " FROM pg_stat_activity WHERE application_name LIKE 'cigri%%'"
    )


@pytest.mark.parametrize("loss", ["the host dies", "its network is gone"])
@pytest.mark.timeout(400)
def test_the_other_head_takes_every_duty_over(whole, heads, loss) -> None:
    first = heads()
    assert whole.until(lambda: held_by(whole, first), PATIENCE)
    second = heads()
    campaign = whole.submit(TASKS, {"a": 4})
    assert whole.until(lambda: whole.done(campaign) >= 10, PATIENCE)
    assert held_by(whole, first), "the second stands by"

    began = time.monotonic()
    if loss == "the host dies":
        first.kill()
    else:
        ip("link", "set", first.name, "down")
    assert whole.until(lambda: held_by(whole, second), PATIENCE), waiting(whole)
    took = time.monotonic() - began
    log.warning("%s: every duty taken over after %.1f s", loss, took)
    assert took < TAKEOVER + SLOW_MACHINE

    if loss == "its network is gone":  # it comes back, and finds that it has nothing to say any more
        assert whole.until(lambda: whole.done(campaign) >= TASKS // 2, PATIENCE)
        ip("link", "set", first.name, "up")
    assert whole.until(lambda: whole.state(campaign) == "terminated", PATIENCE)
    assert held_by(whole, second)
    assert whole.marks() == Counter({f"task-{number}": 1 for number in range(TASKS)})
    assert whole.faulty_books() == [] and whole.live("a") == []
