"""Lines go where they are told to, with the journal's priorities in the journal."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cigri import logs

SOURCE = Path(__file__).parents[2]
SPEAK = """
import logging, warnings
from cigri import logs
logs.configure("INFO", {place!r})
log = logging.getLogger("cigri.test")
log.debug("not this"); log.info("job %d", 7); log.error("two\\nlines"); log.critical("end")
warnings.warn("old")
"""


@pytest.fixture
def quiet_root():
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield root
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
            handler.close()
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


def speak(place: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SPEAK.format(place=place)], text=True, cwd=SOURCE, check=True, **options
    )


def test_streams():
    done = speak("STDOUT", capture_output=True)
    assert "INFO cigri.test[" in done.stdout and "] job 7\n" in done.stdout
    assert "not this" not in done.stdout and "old" in done.stdout and done.stderr == ""


def test_the_journal_gets_priorities_on_every_line():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        status = os.fstat(theirs.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        speak("STDERR", stderr=theirs, env=environ)
        lines = ours.recv(65536).decode().splitlines()
    assert lines[:4] == ["<6>cigri.test: job 7", "<3>cigri.test: two", "<3>lines", "<2>cigri.test: end"]
    assert lines[4].startswith("<4>py.warnings: ")


def test_another_stream_than_the_journal_gets_none():
    done = speak("STDERR", capture_output=True, env={**os.environ, "JOURNAL_STREAM": "1:2"})
    assert "<6>" not in done.stderr and "job 7" in done.stderr


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path, quiet_root):
    path = tmp_path / "cigri.log"
    logs.configure("INFO", str(path))
    quiet_root.info("one")
    path.rename(tmp_path / "cigri.log.1")
    logs.reopen()
    quiet_root.info("two")
    assert path.read_text().endswith("two\n") and (tmp_path / "cigri.log.1").read_text().endswith("one\n")


def test_a_file_that_cannot_be_opened_changes_nothing(tmp_path, quiet_root):
    logs.configure("INFO", str(tmp_path / "good.log"))
    with pytest.raises(OSError):
        logs.configure("INFO", str(tmp_path / "none" / "bad.log"))
    quiet_root.info("still here")
    assert "still here" in (tmp_path / "good.log").read_text()


def test_configuring_again_closes_what_was_open(tmp_path, quiet_root):
    logs.configure("INFO", str(tmp_path / "a.log"))
    logs.configure("DEBUG", str(tmp_path / "b.log"))
    quiet_root.debug("x")
    assert (tmp_path / "a.log").read_text() == "" and "x" in (tmp_path / "b.log").read_text()
    assert len(quiet_root.handlers) == 1
