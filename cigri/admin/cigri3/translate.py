"""What a thing of CiGri 3 is here: pure decisions, each with the reason where there is no such thing."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from cigri.admin.cigri3.source import Row, TaskRow
from cigri.core import events, jdl, jdl_tasks, lenient_json
from cigri.core.jdl import Campaign
from cigri.core.jdl_settings import SETTINGS
from cigri.core.outcome import Outcome
from cigri.core.states import TaskState
from cigri.errors import Fault, InvalidJDL

G5K = "batch g5k is gone with the API it was for: Grid'5000's sites are clusters of batch oar2_5"
CLUSTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
ADMINISTRATOR = "%%admin%%"  # root, among the subscriptions
SMALLEST, LARGEST = -(2**15), 2**15 - 1

# The original wrote the macros as they go to the clusters.
_MACROS = (("\\$CIGRI_CAMPAIGN_ID", "{CAMPAIGN_ID}"), ("\\$OAR_JOB_ID", "{OAR_JOB_ID}"), ("\\$HOME", "{HOME}"))
_OUTCOMES = {
    "EXIT_ERROR": Outcome.EXIT,
    "WORKING_DIRECTORY_ERROR": Outcome.DIRECTORY,
    "RESUBMIT": Outcome.PREEMPTED,
    "RESUBMIT_END": Outcome.RESUBMIT_END,
    "REMOTE_WAITING_FRAG": Outcome.QUEUED,
    "QUEUED_FOR_TOO_LONG": Outcome.QUEUED,
    "USER_FRAG": Outcome.DELETED,
    "FRAG": Outcome.DELETED,
}


def cluster(row: Row) -> dict[str, Any]:
    """The columns of a cluster. Raises ValueError for one that cannot be brought."""
    if row["batch"] == "g5k":
        raise ValueError(G5K)
    if not CLUSTER_NAME.fullmatch(row["name"]):
        raise ValueError("its name is no name here: a letter or digit, then up to 62 letters, digits, `.`, `_`, `-`")
    header = (row.get("api_auth_header") or "").replace("_", "-").title()
    return {
        "id": row["id"],
        "name": row["name"],
        "api_url": row["api_url"].rstrip("/"),
        "api_auth_type": row["api_auth_type"],
        "api_auth_header": "X-Remote-Ident" if header in ("", "Authorization") else header,
        "api_username": row["api_username"] or None,
        "api_chunk_size": min(max(row.get("api_chunk_size") or 100, 1), 10000),
        "api_limit": max(row.get("api_limit") or 100, 1),
        "ssh_host": row["ssh_host"] or None,
        "batch": row["batch"],
        "resource_unit": row["resource_unit"] or "resource_id",
        "power": max(row["power"] or 1, 1),
        "properties": row["properties"] or "",
        "enabled": row.get("enabled") is not False,
    }


def campaign(row: Row, known: Collection[str], resources: str, walltime: str) -> tuple[Campaign, list[str]]:
    """The campaign and what is to be told of it. Raises InvalidJDL where this version cannot run it."""
    raw, notes = lenient_json.loads(row["jdl"] or "")
    if not isinstance(raw, dict) or not isinstance(raw.get("clusters"), dict):
        raise InvalidJDL([Fault("jdl", "is no JDL")])
    raw = {**jdl_tasks.without_sources(raw), "name": row["name"] or f"campaign {row['id']}"}
    raw["clusters"] = {name: _settings(job, notes) for name, job in raw["clusters"].items() if isinstance(job, dict)}
    raw = {key: value for key, value in raw.items() if _kept(key, ("name", "clusters", "jobs_type"), notes)}
    found, warnings = jdl.parse(
        raw, known_clusters=known, default_resources=resources, default_walltime=walltime, streamed=True
    )
    return found, list(dict.fromkeys([*notes, *warnings]))


def _settings(job: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    return {key: _unescaped(value) for key, value in job.items() if _kept(key, (), notes)}


def _kept(key: str, others: Collection[str], notes: list[str]) -> bool:
    """Whether a key of a JDL has a meaning; the original took any."""
    if key.startswith("_") or key.lower() in SETTINGS or key in others:
        return True
    notes.append(f'"{key}" meant nothing and is left out')
    return False


def _unescaped(value: Any) -> Any:
    if isinstance(value, list):
        return [_unescaped(line) for line in value]
    if isinstance(value, str):
        for written, macro in _MACROS:
            value = value.replace(written, macro)
    return value


def task_state(task: TaskRow, adopted: Collection[int], held: Collection[int]) -> TaskState:
    """Where a task is. What had succeeded is never run again, whatever else there is of it."""
    if task.done:
        return TaskState.DONE
    if task.id in adopted:
        return TaskState.ACTIVE
    if task.id in held:
        return TaskState.FAILED
    if task.priority is not None or task.taken:
        return TaskState.PENDING
    return TaskState.FAILED if task.failed else TaskState.CANCELLED


def priority(task: TaskRow) -> int:
    """Its place in the bag."""
    return 10 if task.priority is None else min(max(task.priority, SMALLEST), LARGEST)


def outcome(job: Row) -> Outcome:
    """Why a job ended."""
    if job["state"] == "terminated":
        return Outcome.SUCCESS
    return _OUTCOMES.get(job["code"] or "", Outcome.UNKNOWN)


def code(job: Row) -> str:
    """The code under which a failure is open here."""
    word = job["code"] or ""
    known = events.MEANINGS.get(word)
    good = known is not None and known.scope is events.Scope.JOB and not known.passing
    return word if good else "UNKNOWN_ERROR"


def subscriber(row: Row) -> str:
    """Whose subscription it is."""
    return "root" if row["grid_user"] == ADMINISTRATOR else row["grid_user"]


def bearer(login: str) -> str:
    """The token in what the original kept as a login."""
    return login.removeprefix("Bearer ").strip()
