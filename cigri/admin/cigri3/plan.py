"""What is to be brought over from a CiGri 3, and what is left behind and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cigri.admin.cigri3 import translate
from cigri.admin.cigri3.source import Row, Source
from cigri.clusters import connect
from cigri.config import Settings
from cigri.core import shell, tokens
from cigri.core.jdl import Campaign
from cigri.errors import ConfigError, InvalidJDL

HIGHEST = 4  # of a user's priority, and -4 is the lowest
SEVERITIES = ("low", "medium", "high")
CHANNELS = {"mail": "mail", "xmpp": "jabber"}
DISABLED = "CLUSTER_MANUALLY_DISABLED"


@dataclass(frozen=True, slots=True)
class Token:
    """A user's token for a cluster."""

    user: str
    cluster_id: int
    text: str = field(repr=False)
    said: tokens.Claims


@dataclass(frozen=True, slots=True)
class Job:
    """A job on a cluster that is followed from now on, as the cluster shows it."""

    row: Row
    login: str
    command: str
    array_id: int | None
    running: bool
    started: float


@dataclass(slots=True)
class Plan:
    """What is brought. `left_out` and `notes` are sentences for the administrator."""

    clusters: list[dict[str, Any]] = field(default_factory=list)
    passwords: dict[int, str] = field(default_factory=dict, repr=False)
    logins: list[tuple[str, int, str]] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    priorities: list[tuple[str, int, int]] = field(default_factory=list)
    subscriptions: list[tuple[str, str, str, str]] = field(default_factory=list)
    blacklists: list[tuple[int, str, datetime]] = field(default_factory=list)
    campaigns: list[tuple[Row, Campaign]] = field(default_factory=list)
    rules: list[Row] = field(default_factory=list)
    adopted: list[Job] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)  # live there, and not to be told which they are
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> dict[int, str]:
        """The clusters that are brought."""
        return {one["id"]: one["name"] for one in self.clusters}

    @property
    def secrets(self) -> bool:
        """Whether something has to be sealed."""
        return bool(self.passwords or self.tokens)

    def login(self, user: str, cluster_id: int) -> str:
        """Who a user is on a cluster."""
        mapped = {(one, place): name for one, place, name in self.logins}
        said = {(one.user, one.cluster_id): one.said.user for one in self.tokens}
        return said.get((user, cluster_id)) or mapped.get((user, cluster_id)) or user


def make(source: Source, settings: Settings) -> Plan:
    """Look at everything; nothing is written."""
    plan = Plan()
    _clusters(source, plan)
    _users(source, plan)
    _blacklists(source, plan)
    for row in source.unfinished():
        _campaign(source, plan, settings, row)
    plan.rules = source.rows("admission_rules")
    return plan


def _clusters(source: Source, plan: Plan) -> None:
    seen: set[str] = set()
    for row in source.rows("clusters"):
        try:
            found = translate.cluster(row)
            if found["name"] in seen:
                raise ValueError("there is another of this name")
        except ValueError as error:
            plan.left_out.append(f"cluster {row['name']} (number {row['id']}): {error}")
            continue
        seen.add(found["name"])
        if row["api_auth_type"] == "password" and row["api_password"]:
            plan.passwords[row["id"]] = row["api_password"]
        _try_settings(plan, found)
        plan.clusters.append(found)


def _try_settings(plan: Plan, found: dict[str, Any]) -> None:
    """A cluster that this version cannot talk to is brought all the same, but disabled."""
    names = ("name", "batch", "api_url", "api_auth_type", "api_auth_header")
    known = {name: found[name] for name in names}
    secret = "sealed" if found["id"] in plan.passwords else ""
    try:
        connect.check(connect.ClusterSettings(**known, api_username=found["api_username"] or "", api_password=secret))
    except ConfigError as error:
        if found["api_auth_type"] == "cert" and "certificate" in str(error).lower():
            return  # a key of the configuration, which is looked at when the cluster is asked
        found["enabled"] = False
        plan.notes.append(f"{error}; it is brought as disabled")


def _users(source: Source, plan: Plan) -> None:
    names = plan.names
    jwt = {one["id"] for one in plan.clusters if one["api_auth_type"] == "jwt"}
    for row in source.rows("users_mapping", "grid_login"):
        if row["cluster_id"] in jwt:
            _token(plan, row)
        elif row["cluster_id"] in names and row["cluster_login"]:
            plan.logins.append((row["grid_login"], row["cluster_id"], row["cluster_login"]))
    priorities: dict[tuple[str, int], int] = {}
    for row in source.rows("users_priority"):
        if row["cluster_id"] in names:
            priorities[row["grid_user"], row["cluster_id"]] = row["priority"]
    for (user, cluster_id), given in priorities.items():
        kept = min(max(given, -HIGHEST), HIGHEST)
        plan.priorities.append((user, cluster_id, kept))
        if kept != given:
            plan.notes.append(f"priority {given} of {user} on {names[cluster_id]} becomes {kept}, the utmost here")
    for row in source.rows("user_notifications"):
        _subscription(plan, row)


def _token(plan: Plan, row: Row) -> None:
    text = translate.bearer(row["cluster_login"] or "")
    try:
        plan.tokens.append(Token(row["grid_login"], row["cluster_id"], text, tokens.claims(text)))
    except ValueError as error:
        where = plan.names[row["cluster_id"]]
        plan.left_out.append(f"token of {row['grid_login']} for {where}: {error}")


def _subscription(plan: Plan, row: Row) -> None:
    user, channel, identity = translate.subscriber(row), CHANNELS.get(row["type"] or ""), row["identity"] or ""
    if channel is None or not identity or any(not sign.isprintable() or sign.isspace() for sign in identity):
        plan.left_out.append(f"subscription of {user} by {row['type']} as {identity!r}: there is no such thing here")
        return
    severity = row["severity"] if row["severity"] in SEVERITIES else "low"
    plan.subscriptions.append((user, channel, identity, severity))


def _blacklists(source: Source, plan: Plan) -> None:
    names = plan.names
    seen: set[int] = set()
    for row in source.open_events(DISABLED):
        if row["cluster_id"] in names and row["cluster_id"] not in seen:
            plan.blacklists.append((row["cluster_id"], row["message"] or "", row["date_open"]))
            seen.add(row["cluster_id"])


def _campaign(source: Source, plan: Plan, settings: Settings, row: Row) -> None:
    who = f"campaign {row['id']} of {row['grid_user']}"
    try:
        found, notes = translate.campaign(
            row, set(plan.names.values()), settings.default_job_resources, settings.default_job_walltime
        )
    except InvalidJDL as error:
        plan.left_out.append(f"{who}: " + "; ".join(map(str, error.faults)))
        return
    bad = [(task.id, fault) for task in source.tasks(row["id"]) if (fault := shell.check_line(task.line))]
    if bad:
        plan.left_out.append(
            f"{who}: {len(bad)} of its parameters cannot be sent, the first (task {bad[0][0]}) {bad[0][1]}"
        )
        return
    plan.campaigns.append((row, found))
    plan.notes += [f"{who}: {note}" for note in notes]
