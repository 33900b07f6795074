"""OAR3's JSON records read into the grid's words.

Nothing of a reply is trusted: whatever is odd is Malformed. Callers make BadReply of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from cigri.clusters.base import RemoteEvent, RemoteJob, RemoteState, Resources

T = TypeVar("T")

# All of OAR's job_state enum.
STATES: Mapping[str, RemoteState] = MappingProxyType(
    {
        "Waiting": RemoteState.WAITING,
        "Hold": RemoteState.HOLD,
        "toLaunch": RemoteState.STARTING,
        "toAckReservation": RemoteState.WAITING,  # a reservation that its owner has to confirm
        "Launching": RemoteState.STARTING,
        "Running": RemoteState.RUNNING,
        "Suspended": RemoteState.RUNNING,  # stopped for a while: started and not ended
        "Resuming": RemoteState.RUNNING,
        "Finishing": RemoteState.ENDING,
        "toError": RemoteState.ENDING,
        "Terminated": RemoteState.TERMINATED,
        "Error": RemoteState.ERROR,
    }
)

# Jobs in these states hold their resources.
BUSY_WORDS = ("toLaunch", "Launching", "Running", "Suspended", "Resuming", "Finishing", "toError")

# What the database takes: bigint, integer, and instants before the year 2200.
BIGGEST = 2**63 - 1
BIG = 2**31 - 1
LAST_INSTANT = 7_258_118_400.0


class Malformed(ValueError):
    """A record of a cluster makes no sense."""


def listing(body: Any, read: Callable[[Any], T]) -> tuple[int, list[T]]:
    """The total and the items of one page of a list, each item as `read` reads it."""
    if not isinstance(body, dict) or not isinstance(body.get("items"), list):
        raise Malformed("the reply is no list of items")
    total, items = _whole(body, "total", low=0), body["items"]
    items.reverse()
    found = []
    while items:  # each is forgotten once it is read: of tens of thousands there are never both
        found.append(read(items.pop()))
    return total, found


def clock(body: Any) -> float:
    """The cluster's time in a reply."""
    now = _instant(plain(body), "api_timestamp")
    if not now:
        raise Malformed("the reply has no api_timestamp")
    return now


def stress(body: Any) -> float:
    """The stress factor; OAR3 gives what the site's script printed, as text."""
    value = plain(body).get("GLOBAL_STRESS")
    try:
        found = float(value.replace(",", ".")) if isinstance(value, str) else _number(value)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise Malformed("GLOBAL_STRESS is no number")
    return found


def plain(record: Any) -> dict[str, Any]:
    """An object, whatever is in it."""
    if not isinstance(record, dict):
        raise Malformed("a record is no object")
    return record


def job(record: Any) -> RemoteJob:
    """A job from GET /jobs or GET /jobs/ID, short or detailed."""
    word = _text(plain(record), "state")
    if not word:
        raise Malformed("a job's record has no state")
    nodes = dict.fromkeys([_text(node, "network_address") for node in _objects(record, "nodes")])
    return RemoteJob(
        id=_whole(record, "id", low=1),
        state=STATES.get(word, RemoteState.UNKNOWN),
        word=word,
        name=_text(record, "name"),
        user=_text(record, "user"),
        queue=_text(record, "queue_name"),
        submission_time=_instant(record, "submission_time"),
        detailed="events" in record,
        array_id=_optional(record, "array_id"),
        array_index=_optional(record, "array_index", BIG),
        command=_text(record, "command"),
        exit_code=_optional(record, "exit_code", BIG),
        start_time=_instant(record, "start_time"),
        stop_time=_instant(record, "stop_time"),
        walltime=_optional(record, "walltime", BIG),
        resubmit_job_id=_optional(record, "resubmit_job_id") or 0,
        message=_text(record, "message"),
        launching_directory=_text(record, "launching_directory"),
        stdout_file=_text(record, "stdout_file"),
        stderr_file=_text(record, "stderr_file"),
        nodes=tuple([node for node in nodes if node]),
        resources=len(_objects(record, "resources")),
        events=_events(record),
    )


def resource_ids(record: Any) -> frozenset[int]:
    """The ids of the resources in a detailed record of a job."""
    return frozenset(_whole(resource, "id", low=1) for resource in _objects(plain(record), "resources"))


def count(resources: list[dict[str, Any]], busy: frozenset[int], unit: str) -> Resources:
    """Count in units: a unit is all resources with one value of that property.

    A unit is unavailable when none of its resources is Alive, and free when it takes new jobs and has none.
    Resources of other types than default (licences, storage) are no place for a job.
    """
    name = "id" if unit == "resource_id" else unit
    units: dict[str, list[dict[str, Any]]] = {}
    for resource in resources:
        if (_text(resource, "type") or "default") != "default":
            continue
        value = resource.get(name)
        if value is None or isinstance(value, (dict, list)):
            raise Malformed(f"a resource has no property {unit}: is the cluster's resource_unit right?")
        units.setdefault(str(value), []).append(resource)
    alive = [[r for r in unit_ if _text(r, "state") == "Alive"] for unit_ in units.values()]
    open_ = [[r for r in unit_ if _text(r, "drain") != "YES"] for unit_ in alive]
    return Resources(
        total=len(units),
        unavailable=sum(not unit_ for unit_ in alive),
        free=sum(bool(unit_) and not any(_whole(r, "id", low=1) in busy for r in unit_) for unit_ in open_),
        usable_by_besteffort=sum(any(_text(r, "besteffort") != "NO" for r in unit_) for unit_ in open_),
    )


def _events(record: dict[str, Any]) -> tuple[RemoteEvent, ...]:
    """The events by age: the cluster gives them in any order."""
    events = _objects(record, "events")
    if not events:
        return ()
    found = [(_instant(event, "date"), _optional(event, "id") or 0, place, event) for place, event in enumerate(events)]
    return tuple(
        RemoteEvent(
            kind=_text(event, "type"),
            description=_text(event, "description"),
            date=date,
            to_check=_text(event, "to_check") == "YES",
        )
        for date, _, _, event in sorted(found, key=lambda one: one[:3])
    )


def _objects(record: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = record.get(key)
    if not found and (found is None or isinstance(found, list)):
        return []
    if not isinstance(found, list) or not all([isinstance(item, dict) for item in found]):
        raise Malformed(f"{key} of a record is not a list of objects")
    return found


def _text(record: dict[str, Any], key: str) -> str:
    """Text that PostgreSQL takes: no NUL, no lone surrogate. Absent and null are empty."""
    found = record.get(key)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise Malformed(f"{key} of a record is not text")
    if found.isascii() and "\0" not in found:  # by far the most, and there are twenty in each record
        return found
    return found.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _optional(record: dict[str, Any], key: str, most: int = BIGGEST) -> int | None:
    return None if record.get(key) is None else _whole(record, key, -most, most)


def _whole(record: dict[str, Any], key: str, low: int = -BIGGEST, most: int = BIGGEST) -> int:
    found = record.get(key)
    if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= most:
        raise Malformed(f"{key} of a record is not a whole number in bounds")
    return found


def _instant(record: dict[str, Any], key: str) -> float:
    """Unix seconds; 0 for none (OAR also writes -1)."""
    found = record.get(key)
    instant = 0.0 if found is None else max(0.0, _number(found))
    if instant > LAST_INSTANT:
        raise Malformed(f"{key} of a record is no instant")
    return instant


def _number(found: Any) -> float:
    if not isinstance(found, (int, float)) or isinstance(found, bool) or not abs(found) <= BIGGEST:
        raise Malformed("a number is expected in a record")
    return float(found)
