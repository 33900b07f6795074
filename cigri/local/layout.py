"""Where a local grid keeps what: one private folder, and the files that its processes and its user read."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cigri import config
from cigri.core import vault
from cigri.errors import CigriError, ConfigError
from cigri.local import processes
from cigri.local.sockets import reachable

SOCKET_ROOM = len("/api.sock.4194304")
# Rounds of a minioar last a fraction of a second: nothing needs to be waited for as on a real cluster.
QUICK = {
    "DAEMON_PERIOD": "2",
    "RUNNER_MIN_CYCLE_DURATION": "0.5",
    "RESUBMIT_LOOK_DELAY": "2",
    "SETTLE_READING_DELAY": "2",
    "KILL_RETRY_DELAY": "3",
}


@dataclass(slots=True)
class LocalCluster:
    """A minioar of the grid. `declared`: the grid's database has been told of it."""

    slots: int
    declared: bool = False


@dataclass(slots=True)
class Plan:
    """What the grid is made of; kept in the folder."""

    clusters: dict[str, LocalCluster] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of all files of a local grid."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "cigri.conf"

    @property
    def client_config(self) -> Path:
        return self.folder / "api-clients.conf"

    @property
    def environment(self) -> Path:
        return self.folder / "env.sh"

    @property
    def database(self) -> Path:
        return self.folder / "database"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def api_socket(self) -> Path:
        return reachable(self.folder, SOCKET_ROOM) / "api.sock"

    def log(self, service: str) -> Path:
        return self.folder / "log" / f"{service}.log"

    def mark(self, service: str) -> Path:
        return self.folder / "run" / service

    def cluster(self, name: str) -> Path:
        return self.folder / "clusters" / name

    def token(self, name: str) -> Path:
        return self.folder / "tokens" / name

    def make(self) -> None:
        """Make the folders. Raises CigriError when the folder is somebody else's, or not private."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = self.folder.stat()
        if state.st_uid != os.geteuid():
            raise CigriError(f"{self.folder} belongs to somebody else")
        if "\n" in str(self.folder) or '"' in str(self.folder):
            raise CigriError("the name of the folder may have neither quotes nor line ends in it")
        self.folder.chmod(0o700)
        for name in ("log", "run", "clusters", "tokens"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)

    def plan(self) -> Plan:
        """What the grid was made of last."""
        try:
            kept = json.loads((self.folder / "local.json").read_text())
        except FileNotFoundError:
            return Plan()
        clusters = {name: LocalCluster(**cluster) for name, cluster in kept["clusters"].items()}
        return Plan(clusters, kept["settings"])

    def keep(self, plan: Plan) -> None:
        """Remember what the grid is made of."""
        clusters = {
            name: {"slots": cluster.slots, "declared": cluster.declared} for name, cluster in plan.clusters.items()
        }
        kept = {"clusters": clusters, "settings": plan.settings}
        write(self.folder / "local.json", json.dumps(kept, indent=2) + "\n")

    def write_token(self, name: str) -> Path:
        """The file with the word that a cluster asks for; made when it is not there."""
        file = self.token(name)
        if not file.exists():
            write(file, secrets.token_urlsafe(32) + "\n")
        return file

    @property
    def token_key(self) -> Path:
        """What encrypts tokens and the addresses of webhooks."""
        return self.folder / "token.key"

    def write_configuration(self, plan: Plan, database: Mapping[str, str]) -> None:
        """The files that daemons, server and commands read. Raises ConfigError when a setting is bad."""
        keys = {
            **database,
            "PID_FILE": str(self.folder / "run" / "almighty.pid"),
            "LOG_FILE": "STDERR",
            **QUICK,
            "API_SOCKET": str(self.api_socket),
            "ADMISSION_RULES_DIRECTORY": "none",
            "TOKEN_KEY_FILE": str(self.token_key),
            "API_ADMINISTRATORS": ", ".join({"root": 0, pwd.getpwuid(os.geteuid()).pw_name: 0}),
        }
        unknown = plan.settings.keys() - (config.keys(config.Settings) | config.keys(config.ClientSettings))
        if unknown:
            raise ConfigError(f"--set: {', '.join(sorted(unknown))}: no such key")
        if not self.token_key.exists():
            vault.create_key_file(str(self.token_key))
        write(self.config, _lines("The local grid's daemons and API server", keys | plan.settings))
        config.load(str(self.config))
        client = {"API_SOCKET": str(config.load(str(self.config)).api_socket)}
        write(self.client_config, _lines("The local grid's commands", client))
        write(self.environment, self._exports())

    def _exports(self) -> str:
        exports = {name: shlex.quote(value) for name, value in self.variables().items()}
        lines = [f"export {name}={value}" for name, value in exports.items()]
        path = f"export PATH={shlex.quote(str(commands()))}:$PATH"
        return "\n".join(["# . this file to use the local grid", *lines, path, ""])

    def variables(self) -> dict[str, str]:
        """What the grid's programs find in their environment."""
        return {"CIGRICONFFILE": str(self.config), "CIGRICLIENTCONFFILE": str(self.client_config)}


def commands() -> Path:
    """The folder of gridsub and the other commands: the checkout's, else where this program was installed."""
    checkout = processes.SOURCE / "bin"
    return checkout if (checkout / "gridsub").exists() else Path(sys.executable).parent


def write(file: Path, text: str) -> None:
    """Write a private file that is never seen half written."""
    draft = file.with_name(f".{file.name}.new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as output:
        output.write(text)
    draft.rename(file)


def _lines(title: str, keys: Mapping[str, str]) -> str:
    lines = [f'{key} = "{value}"' for key, value in keys.items()]
    return "\n".join([f"# {title}. Written by cigri-local at each start: use --set to change it.", *lines, ""])
