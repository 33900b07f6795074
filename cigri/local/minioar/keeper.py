"""The keeper: the process that is the parent of all running commands.

It outlives the server, so that the end of a command that runs while the server is down is known afterwards.
The server tells it what to run and what to signal, one JSON object a line on a Unix socket; it answers by
appending to the journal, and sends a line on the socket when it has done so. A line of the journal is

    S <job> <time> <pid> <start> <boot>    the command has started (see cigri.local.processes)
    E <job> <time> <raw wait status>       it has ended, and so has everything in its process group
    F <job> <time> <OAR's event>           it could not be started

It ends by itself when no server is connected and nothing runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cigri.local import processes
from cigri.local.sockets import reachable

JOURNAL = "journal"
SOCKET = "keeper.sock"


def socket_path(folder: Path) -> str:
    """Where the keeper of this folder listens."""
    return str(reachable(folder, len(SOCKET) + 2) / SOCKET)


class Unstartable(Exception):
    """The command cannot be started; the text is OAR's event for the reason."""


class Keeper:
    """Starts commands, sends signals to their groups, records what happens."""

    def __init__(self, folder: Path) -> None:
        self.journal = os.open(folder / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.job_of: dict[int, int] = {}
        self.bash = "/bin/bash"

    def serve(self, path: str) -> None:
        """Follow the servers that connect, one after the other, until none is there and nothing runs."""
        wake, self.wake = socket.socketpair()
        wake.setblocking(False)
        self.wake.setblocking(False)
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            listener.bind(path)
            os.chmod(path, 0o600)
            listener.listen(4)
            selector.register(wake, selectors.EVENT_READ)
            selector.register(listener, selectors.EVENT_READ)
            self._follow(listener, wake, selector)
            os.unlink(path)

    def _follow(self, listener: socket.socket, wake: socket.socket, selector: selectors.BaseSelector) -> None:
        server: socket.socket | None = None
        pending = b""
        deadline = time.monotonic() + 20  # for the first server
        while server is not None or self.running or time.monotonic() < deadline:
            for key, _ in selector.select(None if server is not None or self.running else 1):
                news = False
                if key.fileobj is wake:
                    with contextlib.suppress(BlockingIOError):
                        wake.recv(4096)
                    news = self._reap()
                elif key.fileobj is listener and server is None:
                    server, _ = listener.accept()
                    selector.unregister(listener)
                    selector.register(server, selectors.EVENT_READ)
                    pending, deadline = b"", 0
                    self._send(server, "hello " + " ".join(map(str, self.running)))
                elif server is not None and key.fileobj is server:
                    chunk = self._receive(server)
                    *lines, pending = (pending + chunk).split(b"\n")
                    news = any([self._obey(json.loads(line)) for line in lines])
                    if not chunk:
                        selector.unregister(server)
                        server.close()
                        server = None
                        selector.register(listener, selectors.EVENT_READ)
                if news and server is not None:
                    self._send(server, "news")

    def _receive(self, server: socket.socket) -> bytes:
        try:
            return server.recv(1 << 20)
        except ConnectionError:
            return b""

    def _send(self, server: socket.socket, line: str) -> None:
        with contextlib.suppress(OSError):  # its end is seen when reading
            server.sendall(line.encode() + b"\n")

    def _obey(self, order: dict[str, Any]) -> bool:
        """Do what the server asks; whether the journal has news."""
        if "signal" in order:
            running = self.running.get(order["job"])
            if running is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, order["signal"])
            return False
        job = order["job"]
        if job in self.running:
            return False
        try:
            started = self._start(order)
        except Unstartable as reason:
            self._record(f"F {job} {time.time():.3f} {reason}")
            return True
        self.running[job] = started
        self.job_of[started.pid] = job
        mark = processes.mark(started.pid) or f"{started.pid} 0 -"
        self._record(f"S {job} {time.time():.3f} {mark}")
        return True

    def _start(self, order: dict[str, Any]) -> subprocess.Popen[bytes]:
        folder = order["directory"]
        if not os.path.isdir(folder) or not os.access(folder, os.X_OK):
            raise Unstartable("WORKING_DIRECTOR")
        try:
            with contextlib.ExitStack() as files:
                output, errors = (
                    files.enter_context(open(os.path.join(folder, order[name]), "ab")) for name in ("stdout", "stderr")
                )
                return self._spawn(order, folder, output.fileno(), errors.fileno())
        except OSError as error:
            raise Unstartable("OUTPUT_FILES") from error

    def _spawn(self, order: dict[str, Any], folder: str, output: int, errors: int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [self.bash, "-c", order["command"]],
                cwd=folder,
                env=order["environment"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                umask=0o022,
            )
        except (OSError, ValueError) as error:
            raise Unstartable("LAUNCHING_OAREXEC_TIMEOUT") from error

    def _reap(self) -> bool:
        """Record the commands that have ended, after killing what they left behind in their groups."""
        news = False
        while self.running:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                break
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(ended.si_pid, signal.SIGKILL)  # the dead leader still holds the group's number
            _, status = os.waitpid(ended.si_pid, 0)
            job = self.job_of.pop(ended.si_pid)
            self.running.pop(job).returncode = status
            self._record(f"E {job} {time.time():.3f} {status}")
            news = True
        return news

    def _record(self, line: str) -> None:
        os.write(self.journal, line.encode() + b"\n")


def main() -> None:
    """Keep the jobs of the folder named by the first argument; one keeper at a time does."""
    folder = Path(sys.argv[1])
    lock = os.open(folder / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Keeper(folder).serve(socket_path(folder))


if __name__ == "__main__":
    main()
