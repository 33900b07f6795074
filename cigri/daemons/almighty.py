"""almighty: starts the daemons and one runner per cluster, watches them, and stops them in order."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import daemon
import psycopg
import setproctitle
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from cigri import __version__, config, logs
from cigri.config import Settings
from cigri.daemons.children import Children, module
from cigri.daemons.pidfile import PidFile
from cigri.daemons.signals import Signals
from cigri.daemons.wakeup import Wakeup
from cigri.db import clusters, events
from cigri.db.engine import create_engine, require_safety, transaction
from cigri.db.migrate import require_current
from cigri.errors import CigriError

log = logging.getLogger(__name__)

DAEMONS = ("metascheduler", "updater", "nikita", "judas")


class Almighty:
    """The supervisor. It needs no duty: what its children do is fenced by theirs."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._children = Children()
        self._runners: dict[str, int] = {}  # the child's name -> the cluster's id
        self._told = False

    def run(self, signals: Signals) -> None:
        """Go on until asked to stop."""
        wakeup = Wakeup(self._engine, {"clusters"})
        self._record(events.News("ALMIGHTY_STARTING", _place()))
        _tell_systemd("READY=1")
        try:
            while not signals.stop:
                self._round(signals, wakeup)
        finally:
            _tell_systemd("STOPPING=1")
            self._children.stop()
            wakeup.close()
            self._record(events.News("ALMIGHTY_TERMINATING", _place()))

    def _round(self, signals: Signals, wakeup: Wakeup) -> None:
        if signals.reload:
            signals.reload = False
            self._reload()
        died = self._children.reap()
        self._follow_clusters()
        for name in died.keys() & self._runners.keys():
            message = f"its {name} {died[name]}: see the log on {socket.gethostname()}"
            self._record(events.News("RUNNER_FAILED", message, cluster_id=self._runners[name]))
        due = self._children.start()
        _tell_systemd("WATCHDOG=1")
        wakeup.wait(signals, min(due, self._settings.daemon_period))

    def _follow_clusters(self) -> None:
        """One runner per cluster that gets jobs or has some, as the database says now."""
        try:
            with transaction(self._engine) as session:
                wanted = clusters.needing_runner(session)
        except DBAPIError as error:
            if not self._told:
                log.warning("the database: %s", str(error.orig).strip().split("\n")[0])
            self._told = True
            return
        if self._told:
            log.warning("the database is back")
        self._told = False
        commands: dict[str, Sequence[str]] = {name: module(name) for name in DAEMONS}
        commands |= {f"runner {name}": module("runner", name) for name in sorted(wanted)}
        self._runners = {f"runner {name}": key for name, key in wanted.items()}
        self._children.want(commands)

    def _reload(self) -> None:
        """Read the configuration again; a bad one is told and the old one stays."""
        try:
            self._settings = config.load()
        except CigriError as error:
            log.error("the configuration stays as it was: %s", error)
            return
        logs.configure(self._settings.log_level, self._settings.log_file)
        log.info("configuration read again")
        self._children.signal(signal.SIGHUP)

    def _record(self, news: events.News) -> None:
        try:
            with transaction(self._engine) as session:
                events.record(session, news)
        except DBAPIError as error:
            log.warning("%s is not recorded: %s", news.code, str(error.orig).strip().split("\n")[0])


def _place() -> str:
    return f"on {socket.gethostname()}, pid {os.getpid()}"


def _tell_systemd(state: str) -> None:
    """One datagram to systemd, when it started us and waits for it (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifications:
        notifications.connect("\0" + address[1:] if address.startswith("@") else address)
        notifications.sendall(state.encode())


def _supervise(settings: Settings) -> int:
    logs.configure(settings.log_level, settings.log_file)
    setproctitle.setproctitle("cigri almighty")
    for note in settings.notes:
        log.warning("%s", note)
    signals = Signals()
    engine = create_engine(settings.database_url(), application="cigri almighty")
    try:
        _check_database(engine, settings, signals)
        if not signals.stop:
            Almighty(settings, engine).run(signals)
    except CigriError as error:
        log.error("%s", error)
        return 1
    finally:
        engine.dispose()
    return 0


def _check_database(engine: Engine, settings: Settings, signals: Signals) -> None:
    """Raise DatabaseError unless the schema is this program's; a server that is away is waited for."""
    told = False
    while not signals.stop:
        try:
            require_current(settings.database_url())
            require_safety(engine)
            return
        except psycopg.OperationalError as error:
            if not told:
                log.warning("waiting for the database: %s", str(error).strip().split("\n")[0])
            told = True
            signals.wait(1.0)


def _detach(settings: Settings, pid_file: PidFile) -> int:
    """Go into the background. The log must be a file: nobody reads a terminal that is gone."""
    if settings.log_file in ("STDOUT", "STDERR"):
        raise click.ClickException("--daemonize needs LOG_FILE to be a path: nobody would see the log")
    descriptor = pid_file.take()
    with (
        Path(settings.log_file).open("a", buffering=1, encoding="utf-8") as log_file,
        daemon.DaemonContext(
            umask=0o027,
            detach_process=True,
            stdout=log_file,
            stderr=log_file,
            files_preserve=[descriptor],
            signal_map={},
        ),
    ):
        pid_file.write()
        return _supervise(settings)


@click.command("cigri-almighty", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--daemonize", is_flag=True, help="Go into the background, for hosts without systemd.")
@click.version_option(__version__, message="%(version)s")
def cigri_almighty(daemonize: bool) -> None:
    """Start the daemons of the grid and watch over them.

    The configuration is /etc/cigri/cigri.conf, or the file that CIGRICONFFILE names. SIGHUP reads it again,
    SIGTERM stops everything.
    """
    try:
        settings = config.load()
        if daemonize:
            sys.exit(_detach(settings, PidFile(settings.pid_file)))
        sys.exit(_supervise(settings))
    except CigriError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    cigri_almighty()
