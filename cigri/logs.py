"""Where log lines go and how they look. Called once per process; every module logs to its own logger."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from typing import TextIO

FORMAT = "%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s"
JOURNAL_FORMAT = "%(name)s: %(message)s"  # the journal knows time and process
PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
DATES = "%Y-%m-%d %H:%M:%S%z"


class JournalFormatter(logging.Formatter):
    """Each line begins with its priority as sd-daemon(3) has it: `<3>text`."""

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{journal_priority(record.levelno)}>"
        return "\n".join(priority + line for line in super().format(record).splitlines() or [""])


def journal_priority(level: int) -> int:
    """syslog's number for a level of logging."""
    return next((priority for least, priority in PRIORITIES if level >= least), 7)


def is_journal(stream: TextIO) -> bool:
    """Whether the stream is connected to the journal (JOURNAL_STREAM names its device and inode)."""
    try:
        device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
        found = os.fstat(stream.fileno())
        return (found.st_dev, found.st_ino) == (int(device), int(inode))
    except (ValueError, OSError):  # no or another variable, a stream without a descriptor
        return False


def handler_for(file: str) -> logging.Handler:
    """The handler for a path, STDOUT or STDERR. A path moved away is opened anew at the next line."""
    if file not in ("STDOUT", "STDERR"):
        handler: logging.Handler = logging.handlers.WatchedFileHandler(file, encoding="utf-8")
        handler.setFormatter(logging.Formatter(FORMAT, DATES))
        return handler
    stream = sys.stdout if file == "STDOUT" else sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JournalFormatter(JOURNAL_FORMAT) if is_journal(stream) else logging.Formatter(FORMAT, DATES))
    return handler


def configure(level: str, file: str) -> None:
    """Send every line of at least `level` to `file` (a path, STDOUT or STDERR), and nowhere else.

    Raises OSError when the file cannot be opened; what was configured before then stays. May be called again,
    after a change of configuration or a fork.
    """
    handler = handler_for(file)
    handler.setLevel(level)  # also for loggers that `say` has made talk more
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in ("urllib3", "asyncio"):  # their debug lines drown ours
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLevelName(level)))


def say(name: str) -> None:
    """Write every line of this logger to stderr as well, without time and level: for --verbose."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)


def reopen() -> None:
    """Open the log files again if they were moved away; harmless otherwise. For SIGHUP."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.handlers.WatchedFileHandler):
            handler.acquire()
            try:
                handler.reopenIfNeeded()
            finally:
                handler.release()
