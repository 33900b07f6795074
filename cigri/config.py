"""The configuration files: lines `KEY = "value"`, read once into frozen, typed settings.

Every key is a field of Settings (daemons, API server, gridadmin) or of ClientSettings (the users' commands):
its lower-case name, type, default, reader and one sentence about it stand there and nowhere else. All
durations are float seconds. Only the standard library is used: the commands start with this module.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from cigri.errors import ConfigError

DAEMON_FILE = "/etc/cigri/cigri.conf"
CLIENT_FILE = "/etc/cigri/api-clients.conf"

T = TypeVar("T")


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# --- readers: the text of a value -> the value; ValueError says what was expected


def text(value: str) -> str:
    return value


def filled(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return value


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words, in any case."""

    def read(value: str) -> str:
        for word in words:
            if word.lower() == value.lower():
                return word
        raise ValueError(f"must be one of {', '.join(words)}")

    return read


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """A whole number in these bounds."""
    bounds = f"of {low} or more" if high is None else f"from {low} to {high}"

    def read(value: str) -> int:
        if re.fullmatch(r"[+-]?[0-9]{1,18}", value):
            number = int(value)
            if low <= number and (high is None or number <= high):
                return number
        raise ValueError(f"must be a whole number {bounds}")

    return read


def number(low: float, *, above: bool = False, what: str = "a number") -> Callable[[str], float]:
    """A number not below `low`, or above it."""
    bounds = f"above {low:g}" if above else f"of {low:g} or more"

    def read(value: str) -> float:
        if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", value):
            found = float(value)
            if found > low or (found == low and not above):
                return found
        raise ValueError(f"must be {what} {bounds}")

    return read


def seconds(low: float = 0.0, *, above: bool = False) -> Callable[[str], float]:
    return number(low, above=above, what="a number of seconds")


def fraction(value: str) -> float:
    """A number from 0 to 1."""
    if re.fullmatch(r"[01]|1\.0*|0?\.[0-9]+|0\.", value):
        return float(value)
    raise ValueError("must be a number from 0 to 1")


def truth(value: str) -> bool:
    word = value.lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0", ""):
        return False
    raise ValueError("must be true or false")


def verification(value: str) -> bool:
    """Whether certificates are verified; Ruby's constants are known."""
    word = value.rpartition("::")[2].upper()
    if word in ("VERIFY_PEER", "VERIFY_NONE"):
        return word == "VERIFY_PEER"
    try:
        return truth(value)
    except ValueError:
        raise ValueError("must be true or false (or OpenSSL::SSL::VERIFY_PEER, _NONE)") from None


def level(value: str) -> str:
    """A level of Python's logging; the names of Ruby's are known."""
    word = value.upper()
    word = {"FATAL": "CRITICAL", "WARN": "WARNING"}.get(word, word)
    if word not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise ValueError("must be one of DEBUG, INFO, WARN, ERROR, FATAL")
    return word


def log_place(value: str) -> str:
    if value.upper() in ("STDOUT", "STDERR"):
        return value.upper()
    if not value.startswith("/"):
        raise ValueError("must be an absolute path, STDOUT or STDERR")
    return value


def absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("must be an absolute path")
    return value


def absolute_or_none(value: str) -> str:
    return "" if value in ("", "none") else absolute(value)


def names(value: str) -> tuple[str, ...]:
    """Words between commas or blanks."""
    return tuple(word for word in re.split(r"[,\s]+", value) if word)


def networks(value: str) -> tuple[str, ...]:
    """Addresses (10.0.0.1, ::1) and networks (10.0.0.0/8) between commas or blanks."""
    import ipaddress  # costs 10 ms, and hardly any file has the key

    for word in names(value):
        try:
            ipaddress.ip_network(word, strict=False)
        except ValueError:
            raise ValueError(f"must be addresses and networks; {word} is neither") from None
    return names(value)


def listening(value: str) -> Address | None:
    """HOST:PORT, [IPV6]:PORT, or none."""
    if value in ("", "none"):
        return None
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s]+)):([0-9]{1,5})", value)
    if not match or not int(match[3]) < 65536:
        raise ValueError("must be HOST:PORT, for example 127.0.0.1:8000, or none")
    return Address(match[1] or match[2], int(match[3]))


def header(value: str) -> str:
    """The name of an HTTP header; HTTP_X_CIGRI_USER means X-Cigri-User."""
    if re.fullmatch(r"HTTP_[A-Z0-9_]+", value):
        value = value.removeprefix("HTTP_").replace("_", "-").title()
    if not re.fullmatch(r"[A-Za-z0-9-]+", value):
        raise ValueError("must be the name of an HTTP header, for example X-Cigri-User")
    return value


def size(value: str) -> int:
    """Bytes; K, M and G are known."""
    match = re.fullmatch(r"([0-9]{1,15})\s*([KMG]?)B?", value.upper())
    if not match or not int(match[1]):
        raise ValueError("must be a number of bytes above 0, for example 512M")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]]


def walltime(value: str) -> str:
    """A walltime that a JDL could have as well: this module cannot ask the one that reads those."""
    if not re.fullmatch(r"[0-9]{1,3}(:[0-9]{1,3}){0,2}", value, re.ASCII):
        raise ValueError("must be h, h:mm or h:mm:ss")
    if ":" not in value and int(value) > 99:
        raise ValueError(f"must be h, h:mm or h:mm:ss; a bare number is hours (did you mean 0:{value}:00?)")
    if not any(int(part) for part in value.split(":")):
        raise ValueError("must be longer than nothing")
    return value


def base(value: str) -> str:
    """A path before all paths of the API: "" or "/something"."""
    stripped = value.strip("/")
    return f"/{stripped}" if stripped else ""


# --- the table


def key(
    default: T,
    read: Callable[[str], T],
    doc: str,
    *,
    section: str = "",
    secret: bool = False,
    effect: bool = True,
    example: str = "",
) -> T:
    """A key. `section` opens a new section; without `effect` its presence is told in the notes."""
    metadata = {"read": read, "doc": doc, "section": section, "effect": effect, "example": example}
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the daemons, the API server and gridadmin are told. Durations are float seconds."""

    path: str = ""
    notes: tuple[str, ...] = ()

    database_type: str = key(
        "PostgreSQL", one_of("PostgreSQL"), "The kind of database: there is only one.", section="Database"
    )
    database_host: str = key(
        "127.0.0.1",
        text,
        "Host of the database; a path: the directory of its socket; empty: libpq's default.",
    )
    database_port: int = key(5432, whole(1, 65535), "Port of the database (part of its socket's name, too).")
    database_name: str = key("cigri3", filled, "Name of the database.")
    database_user_name: str = key("cigri3", filled, "Role that owns the grid's tables.")
    database_user_password: str = key("", text, "Its password; empty for none or for ~/.pgpass.", secret=True)
    database_ssl_mode: str = key(
        "prefer",
        one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        "libpq's sslmode; verify-full is what protects from a false server.",
    )

    install_path: str = key(
        "", text, "Where the original was installed; no effect here.", section="Places", effect=False
    )
    pid_file: str = key("/run/cigri/almighty.pid", absolute, "Lock and pid of almighty when daemonized.")
    log_file: str = key("STDERR", log_place, "Where the daemons log: a path, STDOUT or STDERR.")
    log_level: str = key("INFO", level, "Least level logged: DEBUG, INFO, WARN, ERROR or FATAL.")
    log_jobs: bool = key(False, truth, "Dumped the original's submissions; no effect here.", effect=False)
    log_jobs_directory: str = key("", text, "Where the original dumped submissions; no effect here.", effect=False)
    token_key_file: str = key(
        "/etc/cigri/token.key",
        absolute,
        "Key that encrypts tokens, passwords and the URLs of webhooks; `gridadmin key create` makes it.",
    )

    default_job_resources: str = key(
        "/resource_id=1", filled, "OAR resources of a job whose JDL names none.", section="Jobs"
    )
    default_job_walltime: str = key("01:00:00", walltime, "Walltime of a job whose JDL names none: h, h:mm or h:mm:ss.")
    remote_waiting_timeout: float = key(
        900.0, seconds(), "A job that waited this long on its cluster goes back into the bag; 0: never."
    )
    stress_factor: float = key(
        0.8, number(0, above=True), "A cluster whose stress factor reaches this gets no new job."
    )
    usage_half_life: float = key(
        604800.0,
        seconds(),
        "Time in which what a user has used counts half: who used little lately gets up to twice its share, who used "
        "much down to half of it; 0: it never counts.",
    )
    preempted_charge: float = key(
        1.0,
        fraction,
        "Part of what a job had used when its cluster took the resources away that its owner is charged: 0 to 1.",
    )
    max_failures: int = key(
        10,
        whole(1),
        "Tasks of a campaign that may fail on a cluster before it gets no more jobs there; 1 is the original.",
    )
    stderr_tail: int = key(5, whole(0), "Lines from the end of a failed job's stderr that go into its event.")
    autofix_delay: float = key(
        30.0,
        seconds(above=True),
        "First wait before a failed cluster is probed; it doubles up to 10 minutes.",
    )

    rest_queries_timeout: float = key(
        25.0, seconds(above=True), "How long a cluster's API may take to answer.", section="Clusters' APIs"
    )
    rest_client_certificate_file: str = key("", absolute_or_none, "Certificate shown to clusters with auth type cert.")
    rest_client_key_file: str = key("", absolute_or_none, "Its key.")
    rest_client_ca_file: str = key(
        "", absolute_or_none, "Authorities that sign the clusters' certificates; empty: the system's."
    )
    rest_client_verify_ssl: bool = key(True, verification, "Whether the clusters' certificates are verified.")

    daemon_period: float = key(
        5.0,
        seconds(above=True),
        "A daemon looks for work this often even when nobody wakes it.",
        section="Daemons",
    )
    runner_min_cycle_duration: float = key(
        2.0,
        seconds(),
        "Least time between two rounds of a runner (the original's 15 s: it was not woken by its database).",
    )
    runner_chunk: int = key(500, whole(1, 10000), "Most jobs in one submission.")
    submission_control: str = key(
        "adaptive",
        one_of("adaptive", "tap"),
        "How many jobs a cluster is sent: adaptive fills its free resources, keeps a short queue and heeds loads; tap "
        "is the original's rule.",
    )
    load_sensor_period: float = key(
        10.0,
        seconds(above=True),
        "A cluster's load sensor is read this often, and has as long to answer (SUBMISSION_CONTROL adaptive).",
    )
    load_sensor_lag: float = key(
        60.0,
        seconds(),
        "Time in which a load sensor or a stress factor shows what jobs do: 60 for a mean over a minute; when in "
        "doubt, more (SUBMISSION_CONTROL adaptive).",
    )
    runner_max_waiting: int = key(
        500, whole(1), "Most jobs of the grid that wait in a cluster's queue, beyond what is free."
    )
    runner_default_initial_number_of_jobs: int = key(
        3, whole(1), "Jobs submitted first on a cluster of which nothing is known (SUBMISSION_CONTROL tap)."
    )
    runner_tap_increase_factor: float = key(
        1.5, number(1, above=True), "Growth of a tap's rate (SUBMISSION_CONTROL tap)."
    )
    runner_tap_increase_max: int = key(100, whole(1), "Most that a tap's rate becomes (SUBMISSION_CONTROL tap).")
    runner_tap_grace_period: float = key(
        60.0, seconds(), "A tap that was closed for so long opens smaller (SUBMISSION_CONTROL tap)."
    )
    runner_max_temporal_grouped_jobs: int = key(
        50, whole(1), "Most tasks in one OAR job of a grouped campaign (grouping).", effect=False
    )
    runner_temporal_grouping_duration: float = key(
        90.0,
        seconds(above=True),
        "How long the tasks of one group should last together (grouping).",
        effect=False,
    )
    duty_timeout: float = key(
        12.0, seconds(6), "Silence of a daemon's holder after which a stand-by takes its duty over."
    )

    request_arrival_window: float = key(
        600.0,
        seconds(above=True),
        "A request sent to a cluster arrives within this time or never does.",
        section="Protocol",
    )
    look_back: float = key(
        3600.0,
        seconds(above=True),
        "Jobs are looked for from this long before their request on: clusters may date them minutes into the past.",
    )
    sweep_period: float = key(
        60.0,
        seconds(above=True),
        "Time between two sweeps of a cluster while jobs of a submission that was given up may turn up.",
    )
    idle_sweep_period: float = key(
        3600.0, seconds(above=True), "Time between two sweeps of a cluster when nothing is expected to turn up."
    )
    lost_job_delay: float = key(
        600.0, seconds(above=True), "Time between the two looks after which a missing job is lost."
    )
    resubmit_look_delay: float = key(
        60.0, seconds(), "Time to one more look at an end after which OAR itself may resubmit the job."
    )
    settle_reading_delay: float = key(
        5.0, seconds(), "Time between the two equal readings that adopt a submission found on a cluster."
    )
    walltime_grace: float = key(
        600.0, seconds(), "A job this long over its walltime on its cluster's clock is killed by the grid."
    )
    kill_retry_delay: float = key(
        10.0, seconds(above=True), "First wait before a deletion is asked for again; it grows."
    )

    api_socket: str = key(
        "/run/cigri/api.sock", absolute_or_none, "Unix socket of the API server.", section="API server"
    )
    api_listen: Address | None = key(
        None, listening, "HOST:PORT on which the API server listens too, or none.", example="127.0.0.1:8000"
    )
    api_header_username: str = key("X-Cigri-User", header, "Header in which a trusted proxy gives the caller's name.")
    api_trusted_users: tuple[str, ...] = key(
        (), names, "Accounts (over the socket) whose header is believed.", example="www-data"
    )
    api_trusted_addresses: tuple[str, ...] = key(
        (), networks, "Addresses and networks (over TCP) whose header is believed.", example="127.0.0.1, ::1"
    )
    api_administrators: tuple[str, ...] = key(
        ("root",), names, "Users who may do what a campaign's owner may, and manage the grid."
    )
    api_private: bool = key(False, truth, "Whether only owners and administrators see a campaign.")
    api_max_body: int = key(512 << 20, size, "Largest request body: bytes, or with K, M, G.", example="512M")

    admission_rules_directory: str = key(
        "/etc/cigri/admission.d",
        absolute_or_none,
        "Directory of the rules that campaigns must pass; none: there are no rules. A missing one refuses all.",
        section="Admission",
    )
    user_lists_file: str = key(
        "/etc/cigri/user_lists", absolute_or_none, "Who may submit jobs that are not best-effort, for the rule 10."
    )
    max_tasks_per_campaign: int = key(0, whole(0), "Most tasks of a campaign, for the rule 20; 0: no limit.")
    max_campaigns_per_user: int = key(0, whole(0), "Most unfinished campaigns of a user, for the rule 20; 0: no limit.")

    notifications_smtp_server: str = key("", text, "SMTP server; empty: no mail.", section="Notifications")
    notifications_smtp_port: int = key(25, whole(1, 65535), "Port of the SMTP server (587: starttls, 465: ssl).")
    notifications_smtp_tls: str = key(
        "none", one_of("none", "starttls", "ssl"), "Encryption of the connection to the SMTP server; it is verified."
    )
    notifications_smtp_ca_file: str = key(
        "", absolute_or_none, "Authorities that sign the SMTP server's certificate; empty: the system's."
    )
    notifications_smtp_user: str = key("", text, "Login on the SMTP server, over TLS only; empty: none.")
    notifications_smtp_password: str = key("", text, "Its password.", secret=True)
    notifications_smtp_from: str = key("", text, "Sender of the mails; empty: cigri@ and this host's name.")
    notifications_smtp_subject_tag: str = key("[CIGRI]", text, "Begins the subject of each mail.")
    notifications_xmpp_server: str = key("", text, "XMPP server; empty: no XMPP (it needs the extra cigri[xmpp]).")
    notifications_xmpp_port: int = key(5222, whole(1, 65535), "Port of the XMPP server.")
    notifications_xmpp_identity: str = key("", text, "XMPP account of the grid.", example="cigri@jabber.example.org")
    notifications_xmpp_password: str = key("", text, "Its password.", secret=True)
    notifications_xmpp_ca_file: str = key(
        "", absolute_or_none, "Authorities that sign the XMPP server's certificate; empty: the system's."
    )
    notifications_webhook_hosts: tuple[str, ...] = key(
        (),
        names,
        "Hosts that webhooks may name (*.example.org: all below it), or none; empty: all but loopback and "
        "link-local addresses.",
        example="hooks.slack.com, mattermost.example.org",
    )
    notifications_gathering_delay: float = key(
        30.0, seconds(), "How long alike events are gathered before the first of them is told."
    )
    notifications_digest_period: float = key(
        86400.0, seconds(), "Least time between two messages about the same kind of event of a campaign or cluster."
    )
    notifications_reminder_period: float = key(
        86400.0, seconds(), "How often the administrator is reminded of open blacklists; 0: never."
    )
    notifications_give_up: float = key(
        432000.0, seconds(above=True), "A message that could not be delivered for so long is dropped, with a log line."
    )

    grid_usage_update_period: float = key(
        60.0,
        seconds(),
        "Time between two records of how the clusters are used; 0: none.",
        section="Statistics",
    )
    grid_usage_sync_time: float = key(
        0.0, seconds(), "Made the original's processes wait for each other; no effect here.", effect=False
    )
    campaign_throughput_window: float = key(
        3600.0, seconds(above=True), "How far back a campaign's throughput is measured."
    )

    archive_after: int = key(
        30,
        whole(0, 100000),
        "Days after the end of a campaign when `gridadmin maintenance` archives it (it stays readable); 0: never.",
        section="Maintenance",
    )
    retention: int = key(
        0,
        whole(0, 100000),
        "Days after the end of a campaign when `gridadmin maintenance` drops its tasks and jobs, as `griddel --purge` "
        "does; 0: never.",
    )
    grid_usage_retention: int = key(
        400, whole(0, 100000), "Days for which the records of how the clusters were used are kept; 0: for ever."
    )

    def database_url(self) -> str:
        """The database as an SQLAlchemy URL for psycopg. It has the password: never log it."""
        from urllib.parse import quote, urlencode

        user, host = quote(self.database_user_name, safe=""), self.database_host
        if self.database_user_password:
            user += ":" + quote(self.database_user_password, safe="")
        query = {"sslmode": self.database_ssl_mode}
        if host.startswith("/"):
            query |= {"host": host, "port": str(self.database_port)}
            place = ""
        elif host:
            place = str(Address(host, self.database_port))
        else:
            place = ""
            query["port"] = str(self.database_port)
        return f"postgresql+psycopg://{user}@{place}/{quote(self.database_name, safe='')}?{urlencode(query)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What the users' commands are told. With an `api_socket` host, port and SSL are not used."""

    path: str = ""
    notes: tuple[str, ...] = ()

    api_socket: str = key(
        "/run/cigri/api.sock",
        absolute_or_none,
        "Unix socket of the API server; it wins over API_HOST. No default where API_HOST is given.",
        section="API server",
    )
    api_host: str = key("localhost", filled, "Host of the API server, where no socket is used.")
    api_port: int = key(80, whole(1, 65535), "Port of the API server.")
    api_timeout: float = key(60.0, seconds(above=True), "How long the API server may take to answer.")
    api_base: str = key("", base, "Path before all paths of the API, when a proxy stands in front.")
    api_ssl: bool = key(False, truth, "Whether to speak TLS.")
    api_verify_ssl: bool = key(True, verification, "Whether the server's certificate is verified.")
    api_token_file: str = key(
        "~/.config/cigri/token",
        text,
        "File of mode 0600 with a personal token (`gridtoken --api`), sent over TCP: with TLS or to this machine only.",
    )
    log_file: str = key(
        "STDERR",
        log_place,
        "Where the commands log: a path, STDOUT or STDERR. One that cannot be opened is told on stderr and no more.",
        section="Logging",
    )
    log_level: str = key(
        "WARNING",
        level,
        "Least level logged: DEBUG (each request), INFO (doubts about this file), WARN, ERROR or FATAL.",
    )


class Key(NamedTuple):
    """A key as the table has it."""

    name: str
    default: Any
    read: Callable[[str], Any]
    doc: str
    section: str
    effect: bool
    example: str


def keys(settings: type[Settings] | type[ClientSettings]) -> dict[str, Key]:
    """The keys of these settings by their names, in order."""
    return {
        field.name.upper(): Key(name=field.name.upper(), default=field.default, **field.metadata)
        for field in dataclasses.fields(settings)
        if field.metadata
    }


# --- files


class Line(NamedTuple):
    """A key and its value as a file has them."""

    number: int
    key: str
    value: str


ASSIGNMENT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
QUOTED = re.compile(r'"(.*?)"\s*(?:#.*)?')  # a quote ends the value only where nothing but a comment follows


def scan(content: str) -> Iterator[Line | tuple[int, str]]:
    """The lines of a file, or the number of a bad line with what is wrong."""
    for row, line in enumerate(content.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = ASSIGNMENT.fullmatch(line)
        if not match:
            yield row, 'this is no line KEY = "value"'
            continue
        value = match[2]
        if value.startswith('"'):
            quoted = QUOTED.fullmatch(value)
            if not quoted:
                yield row, f"the value of {match[1]} has no closing quote"
                continue
            value = quoted[1]
        else:
            value = re.split(r"(?:^|\s)#", value, maxsplit=1)[0].strip()
        yield Line(row, match[1], value)


def content_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text at byte {error.start}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def suggestion(word: str, known: Mapping[str, object]) -> str:
    import difflib  # only a fault needs it

    close = difflib.get_close_matches(word.upper(), known, n=1, cutoff=0.7)
    return f" (did you mean {close[0]}?)" if close else ""


class Reading:
    """One file being read: the values of the wanted keys, and what was noticed."""

    def __init__(self, path: str, content: str, wanted: dict[str, Key]) -> None:
        self.path, self.wanted = path, wanted
        self.known = keys(Settings) | keys(ClientSettings) | wanted
        self.values: dict[str, Any] = {}
        self.seen: dict[str, int] = {}
        self.notes: list[str] = []
        self.faults: list[str] = []
        for item in scan(content):
            if isinstance(item, Line):
                self.take(item)
            else:
                self.faults.append(f"{path}:{item[0]}: {item[1]}")
        if self.faults:
            raise ConfigError("\n".join(self.faults))

    def take(self, line: Line) -> None:
        where = f"{self.path}:{line.number}"
        entry = self.known.get(line.key)
        if entry is None:
            self.faults.append(f"{where}: {line.key} is not a key{suggestion(line.key, self.known)}")
            return
        try:
            value = entry.read(line.value)
        except ValueError as error:
            self.faults.append(f'{where}: {line.key} {error}, not "{shown(entry, line.value)}"')
            return
        if line.key in self.seen:
            self.notes.append(f"{where}: {line.key} again: it replaces line {self.seen[line.key]}")
        elif not entry.effect and line.key in self.wanted:
            self.notes.append(f"{where}: {line.key} has no effect")
        self.seen[line.key] = line.number
        if line.key in self.wanted:
            self.values[line.key] = value


def shown(entry: Key, value: str) -> str:
    return "..." if entry.name.endswith("PASSWORD") else value


S = TypeVar("S", Settings, ClientSettings)


def build(settings: type[S], reading: Reading) -> S:
    values = {name.lower(): value for name, value in reading.values.items()}
    return settings(path=reading.path, notes=tuple(reading.notes), **values)


def load(path: str | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of daemons, API server and gridadmin, from `path`, else CIGRICONFFILE, else /etc/cigri.

    Raises ConfigError with all faults, each with its file and line.
    """
    path = path or environ.get("CIGRICONFFILE") or DAEMON_FILE
    reading = Reading(path, content_of(path), keys(Settings))
    kept = [name for name, value in reading.values.items() if name.endswith("PASSWORD") and value]
    if kept and os.stat(path).st_mode & stat.S_IROTH:
        whose = "the database's password" if "DATABASE_USER_PASSWORD" in kept else "the passwords in it"
        reading.notes.append(f"{path}: every user can read {whose}: chmod o= {path}")
    return build(Settings, reading)


def load_client(path: str | None = None, environ: Mapping[str, str] = os.environ) -> ClientSettings:
    """The settings of the users' commands.

    From `path`, else CIGRICLIENTCONFFILE, else CIGRICONFFILE if that has keys for clients (the logging keys
    there are the daemons': not taken), else /etc/cigri/api-clients.conf, and the defaults if there is none.
    """
    named = path or environ.get("CIGRICLIENTCONFFILE")
    if named:
        return with_place(Reading(named, content_of(named), keys(ClientSettings)))
    common = environ.get("CIGRICONFFILE")
    if common and os.access(common, os.R_OK):
        wanted = {name: entry for name, entry in keys(ClientSettings).items() if name.startswith("API_")}
        reading = Reading(common, content_of(common), wanted)
        if reading.values:
            return with_place(reading)
    if not os.path.exists(CLIENT_FILE):
        return ClientSettings()
    return with_place(Reading(CLIENT_FILE, content_of(CLIENT_FILE), keys(ClientSettings)))


def with_place(reading: Reading) -> ClientSettings:
    """A file that names a host and no socket means the host."""
    if "API_HOST" in reading.values or "API_PORT" in reading.values:
        reading.values.setdefault("API_SOCKET", "")
    return build(ClientSettings, reading)
