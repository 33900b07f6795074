#!/usr/bin/env python3
"""Real OAR 2.5 clusters on this one machine, from Debian's packages: for root, in a container too, without systemd.

    real_oar.py up DIR [--nodes N] [--cores N] [--user NAME]...     idempotent; the API's URL is printed
    real_oar.py restart DIR server|database|api
    real_oar.py run DIR COMMAND...                                  in the cluster's own world: oarstat, oarsub, ...
    real_oar.py down DIR [--purge]

OAR's commands have /etc/oar and /var/lib/oar compiled into them. So everything of a cluster runs in a mount
namespace of its own, where these two are folders of DIR: any number of clusters get along, and whatever
OAR the machine itself has is not touched. All daemons listen on loopback or on sockets in DIR.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cigri.local import processes

PACKAGES = (
    "oar-server",
    "oar-server-pgsql",
    "oar-node",
    "oar-user",
    "oar-user-pgsql",
    "oar-restful-api",
    "liboar-perl",
    "apache2",
    "libapache2-mod-fcgid",
    "openssh-server",
    "openssh-client",
    "postgresql",
)
POLICY = Path("/usr/sbin/policy-rc.d")
PATIENCE = 60.0
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
ACTIVE = """SELECT job_id FROM jobs
    WHERE state IN ('toLaunch', 'Launching', 'Running', 'Suspended', 'Resuming', 'Finishing')"""
# What takes a minute on a production server takes a second here. Nodes are this machine: no cpusets, no pings.
SETTINGS = {
    "DB_TYPE": "Pg",
    "DB_PORT": "5432",
    "DB_BASE_NAME": "oar",
    "DB_BASE_LOGIN": "oar",
    "DB_BASE_LOGIN_RO": "oar_ro",
    "SERVER_HOSTNAME": "127.0.0.1",
    "LOG_LEVEL": "3",
    "DETACH_JOB_FROM_SERVER": "1",
    "SCHEDULER_JOB_SECURITY_TIME": "1",
    "SCHEDULER_GANTT_HOLE_MINIMUM_TIME": "1",
    "SCHEDULER_MIN_TIME_BETWEEN_2_CALLS": "0",
    "FINAUD_FREQUENCY": "10",
    "JOBDEL_SOFTWALLTIME": "5",
    "JOBDEL_WALLTIME": "60",
    "OAR_SSH_CONNECTION_TIMEOUT": "30",
    "PINGCHECKER_GENERIC_COMMAND": "/bin/true",
    "API_TRUST_IDENT": "1",
}
UNSET = (
    "JOB_RESOURCE_MANAGER_PROPERTY_DB_FIELD",
    "JOB_RESOURCE_MANAGER_FILE",
    "CPUSET_PATH",
    "PINGCHECKER_SENTINELLE_SCRIPT_COMMAND",
)
# Almighty opens its port on every address of the machine, and has no setting for that.
LOOPBACK = """package Loopback;
use strict; use warnings; use IO::Socket::INET;
delete $ENV{PERL5OPT};
no warnings 'redefine';
my $open = \\&IO::Socket::INET::new;
*IO::Socket::INET::new = sub {
    my ($class, @with) = @_;
    push @with, LocalAddr => '127.0.0.1' if @with % 2 == 0 and {@with}->{Listen} and not {@with}->{LocalAddr};
    return $open->($class, @with);
};
1;
"""
MODULES = ("mpm_prefork", "authz_core", "authz_host", "alias", "env", "setenvif", "headers", "fcgid")


class Failed(Exception):
    """The cluster cannot be brought up; the message says why."""


class RealOar:
    """The OAR of a folder."""

    def __init__(self, folder: Path, *, nodes: int = 2, cores: int = 2, users: Sequence[str] = ()) -> None:
        self.folder = folder.absolute()
        self.nodes = [f"{self.folder.name}-{number}" for number in range(1, nodes + 1)]
        self.cores = cores
        self.users = users
        self._children: dict[str, subprocess.Popen[bytes]] = {}  # those that this very process started

    # --- the whole

    def up(self) -> None:
        """Everything up; what runs already is left alone."""
        check_machine()
        with locked():
            install()
            for name in self.users:
                add_user(name)
        for name in ("run", "log", "conf", "sockets", "runtime", "fcgid"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        for source, copy in self._mounts():
            if not copy.exists():
                shutil.copytree(source, copy, symlinks=True)
                own_tree(copy, source)
        self._write_configuration()
        self.start_database()
        self._create_database()
        self._start_sshd()
        self.start_server()
        self._declare_resources()
        self.start_api()

    def down(self) -> None:
        """Everything down, in order; jobs that run are ended."""
        alive = [pid for name in ("apache", "almighty", "sshd") if (pid := self._alive(name)) is not None]
        worlds = {os.readlink(f"/proc/{pid}/ns/mnt") for pid in alive} - {os.readlink("/proc/self/ns/mnt")}
        self._stop("apache")
        if self._alive("almighty") and self._alive("postgres"):
            running = self.sql(ACTIVE).split()
            if running:
                self.run("oardel", *running, check=False)
                processes.until(lambda: not self.sql(ACTIVE), 20, 0.2)
        self.stop_server()
        self._stop("sshd")
        end_processes(worlds)
        self.stop_database()

    def run(self, *command: str, user: str = "", check: bool = True) -> str:
        """What a command prints that is run in the cluster's world, as that user."""
        words = ["runuser", "-u", user, "--", *command] if user else command
        done = subprocess.run(
            self.inside(*words), env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/"
        )
        if check and done.returncode:
            raise Failed(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def inside(self, *command: str) -> list[str]:
        """The command line that runs a command where /etc/oar and /var/lib/oar are this cluster's."""
        mounts = "; ".join(f"mount --bind '{copy}' '{source}'" for source, copy in self._mounts())
        return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", f'{mounts}; exec "$@"', "sh", *command]

    @property
    def url(self) -> str:
        """The REST API."""
        return f"http://127.0.0.1:{self.port('api')}/oarapi"

    # --- its parts

    def start_database(self) -> None:
        """PostgreSQL, on a socket that OAR and root can reach."""
        data, sockets = self.folder / "database", self.folder / "sockets"
        if self._alive("postgres"):
            return
        shutil.chown(sockets, "postgres", "oar")
        sockets.chmod(0o750)
        log = self.folder / "log" / "postgres.log"
        with log.open("a") as output:
            if not (data / "PG_VERSION").exists():
                shutil.rmtree(data, ignore_errors=True)
                data.mkdir(mode=0o700)
                shutil.chown(data, "postgres", "postgres")
                initdb = ["initdb", "-D", str(data), "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust"]
                subprocess.run(as_postgres(*initdb, "-N"), check=True, stdout=output, stderr=output, cwd="/")
            options = {"listen_addresses": "", "unix_socket_directories": sockets, "unix_socket_permissions": "0777"}
            options |= {"fsync": "off", "max_connections": "200"}
            words = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
            self._spawn("postgres", as_postgres("postgres", "-D", str(data), *words), output, inside=False)
        self._wait("PostgreSQL answers", lambda: self.sql("SELECT 1", database="postgres", check=False) == "1")

    def stop_database(self) -> None:
        self._stop("postgres", signal.SIGINT)  # does not wait for those who are connected

    def start_server(self) -> None:
        """Almighty and what it starts."""
        if self._alive("almighty"):
            return
        with (self.folder / "log" / "almighty.log").open("a") as output:
            more = {"PERL5OPT": f"-I{self.folder / 'conf'} -MLoopback"}
            self._spawn("almighty", ["/usr/sbin/Almighty"], output, **more)
        self._wait("Almighty listens", lambda: listening(self.port("server")))

    def stop_server(self) -> None:
        """The whole process group: Almighty's children do not end by themselves."""
        pid = self._alive("almighty")
        if pid is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
            processes.until(lambda: self._alive("almighty") is None, 5)
        self._stop("almighty")

    def start_api(self) -> None:
        """Apache, as user oar."""
        if self._alive("apache"):
            return
        with (self.folder / "log" / "apache.log").open("a") as output:
            words = ["/usr/sbin/apache2", "-f", str(self.folder / "conf" / "apache.conf"), "-DFOREGROUND"]
            self._spawn("apache", words, output)
        self._wait("the API answers", self._answers)

    def stop_api(self) -> None:
        self._stop("apache")

    def restart(self, part: str) -> None:
        """Stop and start the `server`, the `database` or the `api`."""
        getattr(self, f"stop_{part}")()
        getattr(self, f"start_{part}")()

    def forgotten(self) -> set[int]:
        """The jobs that it was just launching when its server or its database went: it leaves them so."""
        launching = "SELECT job_id FROM jobs WHERE state IN ('toLaunch', 'Launching')"
        return {int(line) for line in self.sql(f"{launching} AND start_time < extract(epoch FROM now()) - 60").split()}

    def sql(self, query: str, *, database: str = "oar", check: bool = True) -> str:
        """What a query to OAR's database gives, unaligned."""
        words = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder / "sockets"), "-U", "postgres"]
        done = subprocess.run([*words, "-c", query, database], capture_output=True, text=True, cwd="/")
        if check and done.returncode:
            raise Failed(f"{query}: {done.stderr}")
        return done.stdout.strip()

    def port(self, name: str) -> int:
        """The port of `server`, `ssh` or `api`: chosen once, then kept."""
        file = self.folder / "ports.json"
        if not file.exists():
            file.write_text(json.dumps(free_ports("server", "ssh", "api")))
        return int(json.loads(file.read_text())[name])

    def _mounts(self) -> list[tuple[Path, Path]]:
        return [(Path(f"/{name}"), self.folder / name.replace("/", "-")) for name in ("etc/oar", "var/lib/oar")]

    def _write_configuration(self) -> None:
        etc, conf = self.folder / "etc-oar", self.folder / "conf"
        text = Path("/usr/share/oar/oar-common/oar.conf").read_text()
        settings = SETTINGS | {
            "DB_HOSTNAME": str(self.folder / "sockets"),
            "SERVER_PORT": str(self.port("server")),
            "LOG_FILE": str(self.folder / "log" / "oar.log"),
            "OPENSSH_CMD": f"/usr/bin/ssh -p {self.port('ssh')} -e none",
            "OAR_RUNTIME_DIRECTORY": str(self.folder / "runtime"),
            "API_STRESS_FACTOR_SCRIPT": str(conf / "stress_factor.sh"),
        }
        text = re.sub(rf"^(?=\s*({'|'.join([*settings, *UNSET])})\s*=)", "#", text, flags=re.MULTILINE)
        text += "".join(f'{key}="{value}"\n' for key, value in settings.items())
        (etc / "oar.conf").write_text(text)
        (etc / "oar.conf").chmod(0o600)
        log = self.folder / "log" / "oar.log"
        log.touch()
        for path in (etc / "oar.conf", log, self.folder / "runtime", self.folder / "fcgid"):
            shutil.chown(path, "oar", "oar")
        (conf / "Loopback.pm").write_text(LOOPBACK)
        (conf / "sshd_config").write_text(self._sshd_configuration())
        (conf / "apache.conf").write_text(self._apache_configuration())
        stress = conf / "stress_factor.sh"
        stress.write_text(f'#!/bin/sh\necho "GLOBAL_STRESS=$(cat {self.folder}/stress 2>/dev/null || echo 0)"\n')
        stress.chmod(0o755)

    def _sshd_configuration(self) -> str:
        return f"""Port {self.port("ssh")}
ListenAddress 127.0.0.1
HostKey {self.folder}/conf/host_key
PidFile none
AllowUsers oar
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitUserEnvironment yes
AcceptEnv OAR_CPUSET OAR_USER_CPUSET OAR_USER_GPUDEVICE OAR_JOB_USER
MaxStartups 1000
UseDNS no
PrintMotd no
"""

    def _apache_configuration(self) -> str:
        modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES)
        return f"""ServerRoot "{self.folder}"
ServerName 127.0.0.1
Listen 127.0.0.1:{self.port("api")}
User oar
Group oar
PidFile {self.folder}/run/apache.pid
DefaultRuntimeDir {self.folder}/run
Mutex pthread
ErrorLog {self.folder}/log/apache-error.log
{modules}
StartServers 3
DocumentRoot /usr/lib/cgi-bin/oarapi
ScriptAlias /oarapi /usr/lib/cgi-bin/oarapi/oarapi.cgi
<Directory />
  Require all denied
</Directory>
<Directory /usr/lib/cgi-bin/oarapi>
  Options +ExecCGI
  SetHandler fcgid-script
  SetEnv OARCONFFILE /etc/oar/oar.conf
  Require ip 127.0.0.1
</Directory>
FcgidIPCDir {self.folder}/fcgid
FcgidProcessTableFile {self.folder}/fcgid/table
FcgidMaxProcesses 6
FcgidMaxRequestsPerProcess 50
FcgidIOTimeout 120
FcgidMaxRequestLen 16777216
"""

    def _create_database(self) -> None:
        if self.sql("SELECT 1 FROM pg_roles WHERE rolname = 'oar'", database="postgres") != "1":
            self.sql("CREATE ROLE oar LOGIN; CREATE ROLE oar_ro LOGIN", database="postgres")
        ready = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'oar'"
        if self.sql(ready, database="postgres") == "ready":
            return
        self.sql("DROP DATABASE IF EXISTS oar", database="postgres")
        self.sql("CREATE DATABASE oar OWNER oar", database="postgres")
        self.sql("GRANT CREATE ON SCHEMA public TO oar")
        for name in ("pg_structure", "default_data", "pg_default_admission_rules"):
            with Path(f"/usr/lib/oar/database/{name}.sql").open() as statements:
                words = ["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder / "sockets"), "-U", "oar", "oar"]
                subprocess.run(words, stdin=statements, check=True, capture_output=True, cwd="/")
        self.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO oar_ro; COMMENT ON DATABASE oar IS 'ready'")

    def _start_sshd(self) -> None:
        """The nodes: their names lead to this machine, for ssh alone."""
        host_key, home = self.folder / "conf" / "host_key", self.folder / "var-lib-oar" / ".ssh"
        home.mkdir(exist_ok=True)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for key in (host_key, home / "id_rsa"):
            if not key.exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", str(key)], check=True)
        (home / "authorized_keys").write_text(f'environment="OAR_KEY=1" {(home / "id_rsa.pub").read_text()}')
        quiet = {"StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR"}
        quiet |= {"BatchMode": "yes", "ForwardX11": "no", "HostName": "127.0.0.1"}
        (home / "config").write_text("Host *\n" + "".join(f"  {key} {value}\n" for key, value in quiet.items()))
        for path in (home, *home.iterdir()):
            path.chmod(0o700 if path.is_dir() else 0o600)
            shutil.chown(path, "oar", "oar")
        if not self._alive("sshd"):
            with (self.folder / "log" / "sshd.log").open("a") as output:
                words = ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "conf" / "sshd_config")]
                self._spawn("sshd", words, output)
        ssh = f"ssh -p {self.port('ssh')} -e none {self.nodes[0]} true && echo in"
        # Not through runuser: the login shell of user oar is a program of OAR's.
        words = ["setpriv", "--reuid=oar", "--regid=oar", "--init-groups", "env", "HOME=/var/lib/oar", "sh", "-c", ssh]
        self._wait("user oar may log in at the nodes", lambda: self.run(*words, check=False) == "in\n")

    def _declare_resources(self) -> None:
        query = "SELECT column_name FROM information_schema.columns WHERE table_name = 'resources'"
        have = self.sql(query).split()
        for name, *words in (("core",), ("host", "-c")):
            if name not in have:
                self.run("oarproperty", "-a", name, *words)
        have, core = self.sql("SELECT core FROM resources").split(), 0
        for node in self.nodes:
            for cpuset in range(self.cores):
                core += 1
                if str(core) not in have:
                    words = ["-h", node, "-s", "Alive", "-p", f"host={node}", "-p", f"core={core}"]
                    self.run("oarnodesetting", "-a", *words, "-p", f"cpuset={cpuset}")
        for node in self.sql("SELECT DISTINCT network_address FROM resources WHERE state <> 'Alive'").split():
            self.run("oarnodesetting", "-s", "Alive", "-h", node)
        self._wait("resources are alive", lambda: not self.sql("SELECT 1 FROM resources WHERE state <> 'Alive'"))

    def _answers(self) -> bool:
        request = urllib.request.Request(f"{self.url}/resources", headers={"Accept": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=20) as reply:
                return json.load(reply)["total"] > 0
        except (urllib.error.URLError, OSError, ValueError):
            return False

    # --- processes

    def _spawn(self, name: str, words: Sequence[str], output: object, *, inside: bool = True, **more: str) -> None:
        process = subprocess.Popen(
            self.inside(*words) if inside else words,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=output,  # type: ignore[arg-type]
            stderr=output,  # type: ignore[arg-type]
            cwd="/",
            start_new_session=True,
        )
        self._children[name] = process
        (self.folder / "run" / name).write_text(processes.mark(process.pid))

    def _alive(self, name: str) -> int | None:
        file = self.folder / "run" / name
        return processes.alive(file.read_text()) if file.exists() else None

    def _stop(self, name: str, first: signal.Signals = signal.SIGTERM) -> None:
        file = self.folder / "run" / name
        if file.exists():
            processes.stop(file.read_text(), first=first)
            file.unlink()
        if name in self._children:
            self._children.pop(name).wait()

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        if not processes.until(condition, PATIENCE, 0.1):
            raise Failed(f"{self.folder.name}: not within {PATIENCE:.0f} s: {what}; see {self.folder / 'log'}")


# --- the machine


def check_machine() -> None:
    """Raise Failed unless this can be done here."""
    if os.geteuid() != 0:
        raise Failed("a real OAR is set up by root only")
    if shutil.which("apt-get") is None:
        raise Failed("a real OAR is set up from Debian's packages: there is no apt-get here")
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "true"], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"mount namespaces are needed (CAP_SYS_ADMIN in a container): {done.stderr.strip()}")


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Only one at a time changes the machine."""
    with Path("/run/lock/cigri-real-oar").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install() -> None:
    """The packages, without starting a single daemon of theirs."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES], capture_output=True
    )
    present = {line.split()[0] for line in done.stdout.decode().splitlines() if line.endswith(" installed")}
    missing = [name for name in PACKAGES if name not in present]
    if not missing:
        return
    made = not POLICY.exists()
    if made:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    words = ["apt-get", "install", "-qy", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *missing]
    options = {"env": environment(DEBIAN_FRONTEND="noninteractive"), "stdin": subprocess.DEVNULL}
    try:
        if subprocess.run(words, stdout=subprocess.DEVNULL, **options).returncode:  # type: ignore[call-overload]
            subprocess.run(["apt-get", "update", "-q"], check=True, **options)  # type: ignore[call-overload]
            subprocess.run(words, check=True, **options)  # type: ignore[call-overload]
    except subprocess.CalledProcessError as error:
        raise Failed(f"{' '.join(missing)} cannot be installed: {error}") from error
    finally:
        if made:
            POLICY.unlink()


def add_user(name: str) -> None:
    """A user of the machine, made if need be."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", name], check=True)


def environment(**more: str) -> dict[str, str]:
    """What daemons and commands of OAR are given, and `more`."""
    return {"PATH": PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "HOME": "/root", **more}


def end_processes(worlds: set[str]) -> None:
    """End whatever is left in these mount namespaces: jobs, and oarexecs that wait for a server that is gone."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(entry / "ns" / "mnt") in worlds:
                os.kill(int(entry.name), signal.SIGKILL)


def as_postgres(program: str, *words: str) -> list[str]:
    """The command line of one of PostgreSQL's programs as user postgres."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", str(folders[-1] / program), *words]


def own_tree(copy: Path, source: Path) -> None:
    """Give a copied folder the owners of the original."""
    for path in (source, *source.rglob("*")):
        state = path.lstat()
        os.chown(copy / path.relative_to(source), state.st_uid, state.st_gid, follow_symlinks=False)


def free_ports(*names: str) -> dict[str, int]:
    """A port for each name that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in names]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return {name: one.getsockname()[1] for name, one in zip(names, sockets, strict=True)}


def listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "restart", "run"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path, metavar="DIR")
    commands.choices["up"].add_argument("--nodes", type=int, default=2)
    commands.choices["up"].add_argument("--cores", type=int, default=2)
    commands.choices["up"].add_argument("--user", action="append", default=[], help="made if need be")
    commands.choices["down"].add_argument("--purge", action="store_true", help="forget everything in DIR")
    commands.choices["restart"].add_argument("part", choices=["server", "database", "api"])
    commands.choices["run"].add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    asked = parser.parse_args()
    try:
        if asked.command == "up":
            oar = RealOar(asked.folder, nodes=asked.nodes, cores=asked.cores, users=asked.user)
            oar.up()
            sys.stdout.write(f"{oar.url}\n")
            return
        oar = RealOar(asked.folder)
        if not (oar.folder / "ports.json").exists():
            raise Failed(f"there is no OAR in {oar.folder}")
        if asked.command == "restart":
            oar.restart(asked.part)
        elif asked.command == "run":
            sys.stdout.write(oar.run(*asked.words))
        else:
            oar.down()
            if asked.purge:
                shutil.rmtree(oar.folder)
    except Failed as error:
        sys.exit(f"real_oar.py: {error}")


if __name__ == "__main__":
    main()
