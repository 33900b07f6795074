"""A process of the local grid that runs in the background: started, found again and stopped by its mark."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from cigri.errors import CigriError
from cigri.local import processes
from cigri.local.layout import Layout, write

TAIL = 2000


@dataclass
class Service:
    """One foreground program of ours, run as `python -m module` in a session of its own."""

    name: str
    module: str
    layout: Layout
    die_with_parent: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def running(self) -> int | None:
        """Its pid, None if it does not run."""
        try:
            return processes.alive(self.layout.mark(self.name).read_text())
        except FileNotFoundError:
            return None

    def start(self) -> None:
        """Start it unless it runs; what it says goes to its log."""
        if self.running() is not None:
            return
        with open(self.layout.log(self.name), "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", self.module],
                cwd=self.layout.folder,
                env=environment(self.layout),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=functools.partial(processes.die_with_parent, signal.SIGTERM)
                if self.die_with_parent
                else None,
            )
        write(self.layout.mark(self.name), processes.mark(self.process.pid))

    def wait(self, answers: Callable[[], bool], seconds: float = 40) -> None:
        """Wait until it answers. Raises CigriError, with what it said last, when it does not."""
        processes.until(lambda: answers() or self.running() is None, seconds, 0.1)
        if self.running() is None or not answers():
            said = self.layout.log(self.name).read_bytes()[-TAIL:].decode(errors="replace")
            raise CigriError(f"{self.name} did not start; it said last:\n{said}")

    def stop(self, patience: float = 30) -> None:
        """Stop it with SIGTERM, and wait until it is gone."""
        mark = self.layout.mark(self.name)
        if mark.exists():
            processes.stop(mark.read_text(), patience=patience)
            mark.unlink(missing_ok=True)
        if self.process is not None:
            self.process.wait(patience)
            self.process = None


def environment(layout: Layout) -> dict[str, str]:
    """What programs of the grid find in their environment."""
    return processes.environment(**layout.variables())


def command(module: str, function: str, *arguments: str) -> list[str]:
    """The words that run one of our commands with this very Python."""
    program = f"from {module} import {function}; {function}(prog_name={function!r})"
    return [sys.executable, "-P", "-c", program, *arguments]
