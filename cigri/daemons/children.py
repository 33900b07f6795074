"""The processes that almighty starts: each in a process group of its own, started again when it dies."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cigri.core.backoff import restart, silence
from cigri.daemons.base import SUPERVISOR

log = logging.getLogger(__name__)

PATIENCE = 7.0  # seconds that all children together have to end after SIGTERM


@dataclass(slots=True)
class Child:
    """One daemon: what is run, and its process while it lives."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    not_before: float = field(default=0.0)
    told: float = float("-inf")
    silence: float = 0.0

    @property
    def alive(self) -> bool:
        return self.process is not None


class Children:
    """The daemons that are to run, by name."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    def want(self, wanted: dict[str, Sequence[str]]) -> None:
        """From now on these are to run, and no others: name -> command."""
        for name in self._children.keys() - wanted.keys():
            self._stop([self._children.pop(name)])
        for name, command in wanted.items():
            if name not in self._children:
                self._children[name] = Child(name, command)

    def reap(self) -> dict[str, str]:
        """Notice who has died, and plan the next start; what is worth telling others of: name -> what happened."""
        news: dict[str, str] = {}
        for child in self._children.values():
            if child.process is None or child.process.poll() is None:
                continue
            now = time.monotonic()
            lived = now - child.started
            plan = restart(child.deaths, lived)
            child.deaths, child.not_before = plan.deaths, now + plan.delay
            ending = (
                f"died ({_ending(child.process.returncode)}) after {lived:.0f} s, started again in {plan.delay:g} s"
            )
            log.error("%s %s", child.name, ending)
            child.process = None
            if (quiet := silence(child.silence, now - child.told)) is not None:
                child.told, child.silence = now, quiet
                news[child.name] = ending
        return news

    def start(self) -> float:
        """Start who is to run and does not; seconds until the next start is due."""
        waits = [60.0]
        for child in self._children.values():
            if child.alive:
                continue
            if (wait := child.not_before - time.monotonic()) > 0:
                waits.append(wait)
                continue
            child.started = time.monotonic()
            child.process = subprocess.Popen(
                child.command,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, SUPERVISOR: str(os.getpid())},
            )
            log.info("%s started, pid %d", child.name, child.process.pid)
        return min(waits)

    def signal(self, number: int) -> None:
        """Send a signal to all who live."""
        for child in self._children.values():
            if child.process is not None:
                child.process.send_signal(number)

    def stop(self) -> None:
        """End all: first those that submit and decide, then the others, with SIGKILL for who does not listen."""
        self._stop(list(self._children.values()))
        self._children.clear()

    def _stop(self, children: Sequence[Child]) -> None:
        living = [child.process for child in children if child.process is not None]
        for process in living:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        for process in living:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                # Every daemon may be killed at any time: what it was doing is settled by the next.
                log.warning("pid %d does not end: killed", process.pid)
                process.kill()
                process.wait()


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit status {code}"


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of this program with this interpreter."""
    return [sys.executable, "-m", f"cigri.daemons.{name}", *arguments]
