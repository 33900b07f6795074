"""The API server: a process that listens on a Unix socket, and on TCP if told to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType

import click
import uvicorn

from cigri import __version__, config, logs
from cigri.api.app import create_app
from cigri.api.callers import PeerProtocol
from cigri.config import Address, Settings
from cigri.db.engine import create_engine
from cigri.errors import CigriError, ConfigError

log = logging.getLogger(__name__)

GRACE = 5  # seconds for requests under way when the server is told to stop
CONNECTIONS = 4  # to the database, kept


@click.command("cigri-api", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    help="The configuration (else $CIGRICONFFILE, else /etc/cigri/cigri.conf).",
)
@click.version_option(__version__, message="cigri-api v%(version)s")
def cigri_api(config_file: str | None) -> None:
    """Serve the REST API of the grid.

    SIGTERM ends it once the requests under way are answered, SIGHUP opens the log file anew.
    """
    try:
        settings = config.load(config_file)
        logs.configure(settings.log_level, settings.log_file)
        serve(settings)
    except (CigriError, OSError) as error:
        sys.exit(f"cigri-api: {error}")


def serve(settings: Settings) -> None:
    """Serve on the sockets that the settings name. Raises ConfigError, OSError when they cannot be had."""
    for note in settings.notes:
        log.warning("%s", note)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    signal.signal(signal.SIGHUP, _reopen)
    with ExitStack() as stack:
        stack.callback(log.info, "stopped")
        sockets = [stack.enter_context(one) for one in _places(settings)]
        engine = create_engine(settings.database_url(), application="cigri-api", pool_size=CONNECTIONS, any_size=True)
        stack.callback(engine.dispose)
        server = uvicorn.Server(server_config(create_app(settings, engine)))
        asyncio.run(server.serve(sockets=sockets))


def server_config(app: object) -> uvicorn.Config:
    """How uvicorn is to serve the application."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=PeerProtocol,
        ws="none",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=GRACE,
    )


def _end(number: int, frame: FrameType | None) -> None:
    """End cleanly, also before uvicorn has its own handlers; at its end uvicorn raises again what it got."""
    sys.exit(0)


def _reopen(number: int, frame: FrameType | None) -> None:
    logs.reopen()


def _places(settings: Settings) -> Iterator[AbstractContextManager[socket.socket]]:
    if not settings.api_socket and settings.api_listen is None:
        raise ConfigError(f"{settings.path}: neither API_SOCKET nor API_LISTEN names a place to listen")
    if settings.api_socket:
        yield unix_socket(settings.api_socket)
    if settings.api_listen is not None:
        if not settings.api_trusted_addresses:
            log.info("API_LISTEN without API_TRUSTED_ADDRESSES: over TCP only personal tokens say who asks")
        yield tcp_socket(settings.api_listen)


@contextmanager
def unix_socket(path: str) -> Iterator[socket.socket]:
    """A listening socket that everybody may connect to. It replaces what was there, at once."""
    temporary = f"{path}.{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listening:
        try:
            listening.bind(temporary)
            os.chmod(temporary, 0o666)
            listening.listen(128)
            mark = os.stat(temporary).st_ino
            os.rename(temporary, path)
        except OSError as error:
            if os.path.lexists(temporary):
                os.unlink(temporary)
            raise ConfigError(f"API_SOCKET {path}: {error.strerror or error}") from error
        log.info("listening on %s", path)
        try:
            yield listening
        finally:
            _remove(path, mark)


def _remove(path: str, mark: int) -> None:
    """Remove the socket unless another server has put its own there."""
    try:
        if os.stat(path).st_ino == mark:
            os.unlink(path)
    except FileNotFoundError:
        pass


@contextmanager
def tcp_socket(address: Address) -> Iterator[socket.socket]:
    """A listening TCP socket."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listening = socket.create_server(address, family=family, backlog=128)
    except OSError as error:
        raise ConfigError(f"API_LISTEN {address}: {error.strerror or error}") from error
    with listening:
        log.info("listening on %s", address)
        yield listening


if __name__ == "__main__":
    cigri_api()
