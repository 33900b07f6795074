"""The start of a daemon as a process of its own: configuration, logging, title, database, then its rounds."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from collections.abc import Callable

import setproctitle
from sqlalchemy import Engine

from cigri import config, logs
from cigri.config import Settings
from cigri.daemons.base import Daemon, again
from cigri.daemons.signals import Signals
from cigri.db.duties import session_name
from cigri.db.engine import create_engine, require_safety
from cigri.errors import CigriError

log = logging.getLogger(__name__)

LEAST_IDLE_LIMIT = 5.0
GARBAGE = 50_000  # objects made and not freed before garbage is looked for: a list of a cluster's jobs has as many


def main(name: str, daemon: Callable[[Settings, Engine], Daemon]) -> int:
    """Run a daemon until it is asked to stop; its exit status. SIGHUP starts it anew with the new configuration."""
    try:
        settings = config.load()
    except CigriError as error:
        sys.stderr.write(f"cigri {name}: {error}\n")
        return 2
    logs.configure(settings.log_level, settings.log_file)
    setproctitle.setproctitle(f"cigri {name}")
    signals = Signals()
    idle_limit = max(LEAST_IDLE_LIMIT, settings.duty_timeout * 2 / 3)  # sooner than who stands by takes over
    application = session_name(name, os.getpid(), socket.gethostname())
    engine = create_engine(settings.database_url(), application=application, idle_limit=idle_limit)
    try:
        require_safety(engine)
        # What was imported stays: looking through it for garbage again and again takes longer than the work.
        gc.freeze()
        gc.set_threshold(GARBAGE, 10, 10)
        daemon(settings, engine).run(signals)
    except CigriError as error:
        log.error("%s: %s", name, error)
        return 1
    except Exception:
        log.exception("%s: a bug ends this daemon; almighty starts it again", name)
        return 1
    finally:
        engine.dispose()
    if signals.reload and not signals.stop:
        again()
    return 0
