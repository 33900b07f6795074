"""almighty as a process: it ends, reloads, follows the clusters, goes into the background."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cigri.local import processes
from cigri.local.service import environment

pytestmark = pytest.mark.timeout(150)


def titles(whole) -> set[str]:
    return {title.removeprefix("cigri ") for title in whole.children().values() if title.startswith("cigri ")}


def test_clusters_come_and_go_and_signals_are_obeyed_without_a_restart(whole) -> None:
    """E21."""
    whole.up({})
    always = {"metascheduler", "updater", "nikita"}
    assert whole.until(lambda: always <= titles(whole), 30)
    url = ("--api-url", "http://127.0.0.1:9", "--auth", "none", "--batch", "oar3")
    whole.command("gridadmin", "cluster", "add", "x", *url)
    assert whole.until(lambda: "runner x" in titles(whole), 20)
    whole.command("gridadmin", "cluster", "disable", "x")
    assert whole.until(lambda: "runner x" not in titles(whole), 20)
    whole.command("gridadmin", "cluster", "enable", "x")
    assert whole.until(lambda: "runner x" in titles(whole), 20)
    # What dies is started again, and told of once.
    (doomed,) = (pid for pid, title in whole.children().items() if title == "cigri runner x")
    os.kill(doomed, signal.SIGKILL)
    assert whole.until(lambda: whole.rows("SELECT 1 FROM events WHERE code = 'RUNNER_FAILED'"), 20)
    assert whole.until(lambda: "runner x" in titles(whole) and doomed not in whole.children(), 20)
    ((message, cluster),) = whole.rows(
        "SELECT message, c.name FROM events e JOIN clusters c ON c.id = cluster_id WHERE code = 'RUNNER_FAILED'"
    )
    assert cluster == "x" and message.startswith("its runner x died (signal 9) after ")
    whole.command("gridadmin", "cluster", "remove", "x")
    assert whole.until(lambda: "runner x" not in titles(whole), 20)

    # SIGHUP: the same processes, with the new configuration; a bad one changes nothing.
    almighty, before = whole.almighty(), set(whole.children())
    file = whole.local.layout.config
    good = file.read_text()
    file.write_text(good + 'NO_SUCH_KEY = "1"\n')
    os.kill(almighty, signal.SIGHUP)
    assert whole.until(lambda: "the configuration stays as it was" in whole.log(), 10)
    file.write_text(good + 'LOG_LEVEL = "DEBUG"\n')
    os.kill(almighty, signal.SIGHUP)
    assert whole.until(lambda: "configuration read again" in whole.log(), 10)
    assert whole.until(lambda: always <= titles(whole), 30)
    assert set(whole.children()) == before

    began = time.monotonic()
    os.kill(almighty, signal.SIGTERM)
    assert whole.local.daemons.process.wait(15) == 0
    assert time.monotonic() - began < 10
    assert [pid for pid in before if processes.start_time(pid) is not None] == []
    codes = [code for (code,) in whole.rows("SELECT code FROM events ORDER BY id")]
    assert codes[-1] == "ALMIGHTY_TERMINATING"


def daemonize(whole) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cigri.daemons.almighty", "--daemonize"],
        env=environment(whole.local.layout),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_in_the_background_there_is_one_and_its_pid_file_says_which(whole) -> None:
    whole.up({})
    whole.local.daemons.stop()
    file = whole.local.layout.config
    text = file.read_text()
    refused = daemonize(whole)
    assert refused.returncode == 1
    assert "LOG_FILE" in refused.stderr
    log = whole.folder / "daemons.log"
    file.write_text(text.replace('LOG_FILE = "STDERR"', f'LOG_FILE = "{log}"'))
    pid_file = whole.folder / "grid" / "run" / "almighty.pid"
    assert daemonize(whole).returncode == 0
    assert processes.until(lambda: pid_file.exists() and pid_file.read_text().strip().isdigit(), 20)
    pid = int(pid_file.read_text())
    try:
        assert processes.until(lambda: log.exists() and "metascheduler: has the duty" in log.read_text(), 30)
        second = daemonize(whole)
        assert second.returncode == 1
        assert f"already running: pid {pid}" in second.stderr
        assert Path(f"/proc/{pid}/cwd").resolve() == Path("/")
    finally:
        os.kill(pid, signal.SIGTERM)
    assert processes.until(lambda: processes.start_time(pid) is None, 10)
    # A pid file that nobody holds does not stand in the way.
    assert daemonize(whole).returncode == 0
    assert processes.until(lambda: pid_file.read_text().strip() not in ("", str(pid)), 20)
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    assert processes.until(lambda: processes.start_time(pid) is None, 10)
