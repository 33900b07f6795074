"""Starting and stopping a minioar from another process."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from cigri.errors import CigriError
from cigri.local import processes

PATIENCE = 20.0
TAIL = 2000


@dataclass
class Minioar:
    """A minioar of the folder, in a process of its own; a context manager for as long as the block.

    start() and stop() may also be called by different processes, each with its own object on the same folder. When
    it is stopped, running jobs end as preempted ones, unless `kill_jobs` is off: then they go on.
    """

    folder: Path
    slots: int
    nodes: int = 1
    token_file: Path | None = None
    jwt_secret_file: Path | None = None
    jwt_lifetime: float | None = None
    closed: bool = False
    round: float = 0.2
    kill_jobs: bool = True
    die_with_parent: bool = False
    environment: dict[str, str] = field(default_factory=dict)  # besides this process's
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Minioar:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return (self.folder / "url").read_text().strip()

    def running(self) -> str:
        """What names its process (cigri.local.processes), empty if it does not run."""
        try:
            pid = int((self.folder / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return ""
        ours = b"cigri.local.minioar" in command and os.fsencode(self.folder) in command
        return processes.mark(pid) if ours else ""

    def start(self) -> None:
        """Start it, and wait until it listens. Nothing to do when it runs already."""
        self.begin()
        self.wait()

    def begin(self) -> None:
        """Start it, unless it runs already."""
        if self.running():
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "url").unlink(missing_ok=True)
        with open(self.folder / "log", "ab") as output:
            self.process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=processes.environment(**self.environment),
                start_new_session=True,
                preexec_fn=functools.partial(processes.die_with_parent, signal.SIGTERM)
                if self.die_with_parent
                else None,
            )

    def wait(self) -> None:
        """Wait until it listens. Raises CigriError, with what it said last, when it does not."""
        processes.until(lambda: (self.folder / "url").exists() or self._is_dead(), PATIENCE)
        if not self.running():
            said = (self.folder / "log").read_bytes()[-TAIL:].decode(errors="replace")
            raise CigriError(f"minioar did not start in {self.folder}; it said last:\n{said}")

    def _is_dead(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def _command(self) -> list[str]:
        words = [sys.executable, "-P", "-m", "cigri.local.minioar", "--dir", self.folder, "--slots", self.slots]
        words += ["--nodes", self.nodes, "--round", self.round]
        words += [] if self.token_file is None else ["--token-file", self.token_file]
        words += [] if self.jwt_secret_file is None else ["--jwt-secret-file", self.jwt_secret_file]
        words += [] if self.jwt_lifetime is None else ["--jwt-lifetime", self.jwt_lifetime]
        words += ["--closed"] if self.closed else []
        words += ["--kill-jobs"] if self.kill_jobs else []
        return [str(word) for word in words]

    def stop(self) -> None:
        """Stop it, with or without its jobs, and wait until it is gone."""
        processes.stop(self.running(), patience=PATIENCE)
        self._reap()

    def crash(self) -> None:
        """Kill it at once, as a power cut would but for its jobs and their keeper."""
        processes.stop(self.running(), first=signal.SIGKILL)
        self._reap()

    def _reap(self) -> None:
        if self.process is not None:
            self.process.wait(PATIENCE)
            self.process = None
