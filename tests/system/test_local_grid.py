"""cigri-local: a whole grid goes up, works, goes down, and comes up as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cigri.local import processes
from cigri.local.demo import TASKS

PATIENCE = 100.0


@pytest.fixture
def folder() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="cigri-test-"))
    yield place
    if (place / "grid" / "lock").exists():
        local("down", "--dir", str(place / "grid"))
    shutil.rmtree(place)


def local(*words: str, expected: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cigri.local.command", *words],
        env=processes.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == expected, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def using(grid: Path, command: str, *words: str) -> str:
    """Run one of the users' commands as somebody does who has read env.sh."""
    module = "cigri.admin.gridadmin" if command == "gridadmin" else f"cigri.cli.{command}"
    program = f"from {module} import {command}; {command}()"
    done = subprocess.run(
        ["bash", "-c", '. "$0"/env.sh; exec "$@"', str(grid), sys.executable, "-c", program, *words],
        env=processes.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def processes_of(folder: Path) -> list[str]:
    """The command lines of all processes that name the folder, or work in it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            where = os.readlink(entry / "cwd")
        except OSError:
            continue
        if str(folder) in line or where.startswith(str(folder)):
            found.append(line)
    return found


def test_up_work_down_and_up_again(folder: Path) -> None:
    grid, results = folder / "grid", folder / "results"
    results.mkdir()
    local("up", "--dir", str(grid), "--cluster", "a=2", "--cluster", "b=1", "--set", "STDERR_TAIL=7")
    assert stat.S_IMODE(grid.stat().st_mode) == 0o700
    assert stat.S_IMODE((grid / "tokens" / "a").stat().st_mode) == 0o600
    assert 'STDERR_TAIL = "7"' in (grid / "cigri.conf").read_text()
    shown = local("status", "--dir", str(grid))
    assert len(re.findall(r" running ", shown)) == 5
    settings = {"exec_file": "sleep 0.3; mkdir", "exec_directory": str(results)}  # a second success is impossible
    jdl = json.dumps({"name": "x", "nb_jobs": 24, "clusters": {"a": settings, "b": settings}})
    campaign = using(grid, "gridsub", "-j", jdl).split("CAMPAIGN_ID=")[1].split()[0]
    assert "Subscribed" in using(grid, "gridnotify", "-w", "https://chat.example.org/hooks/x")  # there is a key for it
    assert processes.until(lambda: any(results.glob("[0-9]*")), 30, 0.1)
    os.kill(int((grid / "run" / "almighty").read_text().split()[0]), signal.SIGKILL)
    assert "up" in local("up", "--dir", str(grid))
    local("down", "--dir", str(grid))
    assert processes_of(folder) == []
    assert len(re.findall(r" stopped ", local("status", "--dir", str(grid), expected=3))) == 5
    local("up", "--dir", str(grid))
    assert processes.until(lambda: "24/24 (100%)" in using(grid, "gridstat", "-c", campaign), 60, 1)
    assert len(list(results.glob("[0-9]*"))) == 24
    using(grid, "gridadmin", "db", "check")


def test_bad_words_are_refused_and_leave_nothing_running(folder: Path) -> None:
    grid = folder / "grid"
    assert "NAME=SLOTS" in local("up", "--dir", str(grid), "--cluster", "a", expected=2)
    assert "KEY=VALUE" in local("up", "--dir", str(grid), "--set", "x", expected=2)
    assert "no grid" in local("down", "--dir", str(grid), expected=1)
    assert "no grid" in local("status", "--dir", str(grid), expected=1)
    assert "NO_SUCH_KEY" in local("up", "--dir", str(grid), "--set", "NO_SUCH_KEY=1", expected=1)
    assert "STDERR_TAIL" in local("up", "--dir", str(grid), "--set", "STDERR_TAIL=x", expected=1)
    assert processes_of(grid) == []


def test_the_demonstration(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cigri.local.command", "demo"],
        env=processes.environment(TMPDIR=str(folder)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *_, first, last = done.stdout.rstrip().split("\n")
    assert re.fullmatch(r"CAMPAIGN_ID=\d+", first)
    assert last == f"Progress: {TASKS}/{TASKS} (100%)"
    assert processes_of(folder) == []
    assert list(folder.glob("cigri-demo-*")) == []


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_an_interrupted_demonstration_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "cigri.local.command", "demo"],
        env=processes.environment(TMPDIR=str(folder)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if number is signal.SIGTERM or "CAMPAIGN_ID" in line:
                break
        time.sleep(1)
        demo.send_signal(number)
        said = demo.stdout.read()
    assert demo.returncode == 130, said
    assert processes_of(folder) == []
    assert list(folder.glob("cigri-demo-*")) == []
