"""Jobs and resources as OAR3's API shows them: the recorded names, in the recorded order, nulls left out."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Shape = dict[str, object]
FOREVER = 2147483647


@dataclass(slots=True)
class Resource:
    """One slot of the cluster."""

    id: int
    node: str
    cpu: int
    state: str = "Alive"
    last_job_date: int = 0


def _without_nulls(shape: Shape) -> Shape:
    return {name: value for name, value in shape.items() if value is not None}


def exit_status(exit_code: int | None) -> int | None:
    """OAR3's exit_status_code of a raw wait status: the exit status, or the signal's number."""
    if exit_code is None:
        return None
    return os.WEXITSTATUS(exit_code) if os.WIFEXITED(exit_code) else os.WTERMSIG(exit_code)


def short(row: sqlite3.Row) -> Shape:
    """A job in a list without details."""
    return _without_nulls(
        {
            "id": row["id"],
            "name": row["name"],
            "state": row["state"],
            "user": row["user"],
            "exit_code": row["exit_code"],
            "queue_name": row["queue"],
            "submission_time": row["submission_time"],
            "exit_status_code": exit_status(row["exit_code"]),
        }
    )


def whole(row: sqlite3.Row) -> Shape:
    """One job, without details."""
    return _without_nulls(
        {
            "id": row["id"],
            "array_id": row["array_id"],
            "array_index": row["array_index"],
            "initial_request": row["initial_request"],
            "name": row["name"],
            "type": "PASSIVE",
            "info_type": "vm:",
            "state": row["state"],
            "reservation": "None",
            "message": row["message"],
            "scheduler_info": "",
            "user": row["user"],
            "project": row["project"],
            "group": "",
            "command": row["command"],
            "exit_code": row["exit_code"],
            "queue_name": row["queue"],
            "properties": row["properties"],
            "launching_directory": row["directory"],
            "submission_time": row["submission_time"],
            "start_time": row["start_time"],
            "stop_time": row["stop_time"],
            "accounted": "NO",
            "assigned_moldable_job": row["assigned"],
            "checkpoint": 0,
            "checkpoint_signal": 12,
            "stdout_file": row["stdout"],
            "stderr_file": row["stderr"],
            "resubmit_job_id": row["resubmit_job_id"],
            "suspended": "NO",
            "exit_status_code": exit_status(row["exit_code"]),
        }
    )


def detailed(row: sqlite3.Row, events: Sequence[Shape], resources: Mapping[int, Resource]) -> Shape:
    """One job with its resources, nodes, events and types."""
    held: list[int] = json.loads(row["resources"])
    nodes = dict.fromkeys(resources[number].node for number in held if number in resources)
    types = {word: True for word in json.loads(row["types"])}
    assigned = row["assigned"] != 0
    asked = f"/nodes={row['nodes']}" if row["nodes"] else ""
    asked += f"/resource_id={row['each']}" if row["each"] else ""
    return whole(row) | _without_nulls(
        {
            "resources": [{"id": number} for number in held],
            "nodes": [{"network_address": node} for node in nodes],
            "events": list(events),
            "types": types or None,
            "walltime": row["walltime"] if assigned else None,
            "actual_resources": asked if assigned else "",
        }
    )


def resource_short(resource: Resource) -> Shape:
    """A resource in a list without details."""
    return {
        "id": resource.id,
        "network_address": resource.node,
        "state": resource.state,
        "available_upto": FOREVER,
    }


def resource_detailed(resource: Resource) -> Shape:
    """A resource in a detailed list."""
    return {
        "id": resource.id,
        "type": "default",
        "network_address": resource.node,
        "state": resource.state,
        "next_state": "UnChanged",
        "finaud_decision": "NO",
        "next_finaud_decision": "NO",
        "state_num": {"Alive": 1, "Absent": 2, "Suspected": 3}.get(resource.state, 4),
        "suspended_jobs": "NO",
        "scheduler_priority": 0,
        "cpuset": str(resource.id - 1),
        "besteffort": "YES",
        "deploy": "NO",
        "expiry_date": 0,
        "desktop_computing": "NO",
        "last_job_date": resource.last_job_date,
        "available_upto": FOREVER,
        "last_available_upto": 0,
        "drain": "NO",
        "cpu": resource.cpu,
        "core": resource.id,
    }
