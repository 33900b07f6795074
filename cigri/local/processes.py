"""Processes seen from outside: who lives, since when, and how to end them.

A pid alone proves nothing, because pids are used again: together with its start time (of the kernel's clock)
it names one process for ever, until the machine starts anew; hence the boot id.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import cigri

PR_SET_PDEATHSIG = 1
SOURCE = Path(cigri.__file__).resolve().parents[1]


def start_time(pid: int) -> int | None:
    """Clock ticks between the machine's start and the process's; None when it has ended (zombies have)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def boot_id() -> str:
    """A word that changes each time the machine starts."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def mark(pid: int) -> str:
    """What names this process and no other: `pid start boot`; empty when it has ended."""
    started = start_time(pid)
    return "" if started is None else f"{pid} {started} {boot_id()}"


def alive(marked: str) -> int | None:
    """The pid of the process that `mark` named, None when it has ended."""
    pid = marked.split(" ", 1)[0]
    return int(pid) if pid.isdigit() and mark(int(pid)) == marked else None


def until(condition: Callable[[], bool], seconds: float, step: float = 0.02) -> bool:
    """Wait for the condition, at most so long; whether it came true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(step)
    return True


def stop(marked: str, *, first: signal.Signals = signal.SIGTERM, patience: float = 15) -> bool:
    """End a process: `first`, then SIGKILL if it is still there after `patience`. False: it had ended."""
    pid = alive(marked)
    if pid is None:
        return False
    for number, seconds in ((first, patience), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            break
        if until(lambda: alive(marked) is None, seconds):
            break
    return True


def die_with_parent(number: int) -> None:
    """For a process just forked: be sent this signal when the thread that forked it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def environment(**more: str) -> dict[str, str]:
    """This process's environment for a Python of ours, which is to find this very source, and `more`."""
    path = os.environ.get("PYTHONPATH", "")
    return os.environ | {"PYTHONPATH": f"{SOURCE}:{path}" if path else str(SOURCE)} | more
