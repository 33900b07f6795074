"""A minioar from its start to its stop: the store, the keeper, the rounds and the web server of one folder."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from cigri.errors import CigriError
from cigri.local import processes
from cigri.local.minioar.engine import Engine, Order
from cigri.local.minioar.faults import Faults
from cigri.local.minioar.forms import Resource
from cigri.local.minioar.keeper import socket_path
from cigri.local.minioar.routes import Routes
from cigri.local.minioar.store import Store
from cigri.local.minioar.tokens import Desk
from cigri.local.minioar.web import Web

LOOPBACK = "127.0.0.1"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a minioar is told when it starts."""

    folder: Path
    slots: int
    nodes: int = 1
    port: int = 0
    token: str | None = field(default=None, repr=False)
    round: float = 0.2
    kill_jobs: bool = False
    desk: Desk | None = None
    closed: bool = False


class Link:
    """The connection to the keeper, which is started when there is none."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self.engine = engine
        self.writer: asyncio.StreamWriter | None = None
        self.broken = asyncio.Event()
        self.listener: asyncio.Task[None]
        self.keeper: subprocess.Popen[bytes] | None = None
        engine.send = self.send

    def send(self, order: Order) -> None:
        """Tell the keeper; what is lost with it is seen when another one is there."""
        if self.writer is not None:
            self.writer.write(json.dumps(order).encode() + b"\n")

    async def connect(self) -> None:
        """Reach the keeper of this folder, starting one if need be, and learn what it runs."""
        for _ in range(200):
            writer = None
            try:
                place = socket_path(self.folder)
                reader, writer = await asyncio.open_unix_connection(place, limit=1 << 24)
                hello = await reader.readline()
            except OSError:  # none is there, or one that was dying
                hello = b""
            if hello.startswith(b"hello"):
                self.writer = writer  # not sooner: what the keeper was told before is what it said hello with
                self.engine.reconcile({int(word) for word in hello.split()[1:]})
                self.listener = asyncio.create_task(self._listen(reader))
                return
            if writer is not None:
                writer.close()
            self._start()
            await asyncio.sleep(0.05)
        raise CigriError(f"no keeper of jobs could be started in {self.folder}")

    async def follow(self) -> None:
        """Find another keeper whenever there is none any more."""
        while True:
            await self.broken.wait()
            log.warning("the keeper of the jobs has died; another one is started")
            self.broken.clear()
            await self.connect()

    async def close(self) -> None:
        """Leave the keeper to its jobs; without any it ends."""
        self.listener.cancel()
        if self.writer is not None:
            self.writer.close()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()
        if self.keeper is not None and not self.engine.active:
            await asyncio.to_thread(self.keeper.wait, 5)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while await reader.readline():
                self.engine.read_journal()
        if self.writer is not None:
            self.writer.close()
        self.writer = None
        self.broken.set()

    def _start(self) -> None:
        if self.keeper is not None and self.keeper.poll() is None:
            return
        with open(self.folder / "keeper.log", "ab") as output:
            self.keeper = subprocess.Popen(
                [sys.executable, "-P", "-S", "-m", "cigri.local.minioar.keeper", str(self.folder)],
                env=processes.environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def resources(name: str, slots: int, nodes: int) -> list[Resource]:
    """So many slots, shared out evenly among the nodes."""
    return [
        Resource(number + 1, f"{name}-node{number * nodes // slots + 1}", number * nodes // slots + 1)
        for number in range(slots)
    ]


def publish(folder: Path, name: str, text: str) -> None:
    """Write a file that is never seen half written."""
    draft = folder / f".{name}.new"
    draft.write_text(text + "\n")
    draft.rename(folder / name)


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    folder = settings.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CigriError(f"a minioar already runs in {folder}") from error
    store = Store(folder / "jobs.sqlite")
    engine = Engine(folder, store, resources(folder.name, settings.slots, settings.nodes))
    link = Link(folder, engine)
    await link.connect()
    faults = Faults()
    web = Web(Routes(engine, faults, settings.token, settings.desk, closed=settings.closed), faults)
    server = await _listen(web, settings.port, store)
    port = server.sockets[0].getsockname()[1]
    publish(folder, "pid", str(os.getpid()))
    publish(folder, "url", f"http://127.0.0.1:{port}")
    log.info("%s: %d slots, http://127.0.0.1:%d", folder, settings.slots, port)
    await _work(engine, link, settings)
    server.close()
    await web.hang_up()
    (folder / "url").unlink(missing_ok=True)
    if settings.kill_jobs:
        engine.stop_jobs()
        for _ in range(100):
            if engine.settle():
                break
            await asyncio.sleep(0.05)
    await link.close()
    store.close()
    (folder / "pid").unlink(missing_ok=True)


async def _listen(web: Web, port: int, store: Store) -> asyncio.Server:
    """Listen on the port asked for; on any, but rather on the last one."""
    try:
        server = await web.listen(LOOPBACK, port or int(store.fact("port", "0")))
    except OSError:
        if port:
            raise
        server = await web.listen(LOOPBACK, 0)
    store.remember("port", str(server.sockets[0].getsockname()[1]))
    store.commit()
    return server


async def _work(engine: Engine, link: Link, settings: Settings) -> None:
    """Hold the rounds until a signal asks for the end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    follower = asyncio.create_task(link.follow())
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), settings.round)
        for task in (follower, link.listener):
            if task.done():  # a fault, or for the listener the end of the keeper
                task.result()
        engine.round()
    follower.cancel()
