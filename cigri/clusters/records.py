"""OAR3's JSON records read into the grid's words.

Nothing of a reply is trusted: whatever is odd is Malformed. Callers make BadReply of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from cigri.clusters.base import RemoteEvent, RemoteJob, RemoteState, Resources
from cigri.clusters.document import decode

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

Whole = Annotated[int, Meta(ge=-BIGGEST, le=BIGGEST)]
Small = Annotated[int, Meta(ge=-BIG, le=BIG)]
Instant = Annotated[float, Meta(le=LAST_INSTANT)]
Listing: TypeAlias = Callable[[bytes], tuple[int, list[T]]]


class Malformed(ValueError):
    """A record of a cluster makes no sense."""


class _Node(msgspec.Struct):
    network_address: str | None = None


class _Resource(msgspec.Struct):
    pass  # that it is an object is enough: they are counted


class _Event(msgspec.Struct):
    type: str | None = None
    description: str | None = None
    date: Instant | None = None
    id: Whole | None = None
    to_check: str | None = None


class _Job(msgspec.Struct):
    """What is read of a job from GET /jobs or GET /jobs/ID, short or detailed."""

    id: Annotated[int, Meta(ge=1, le=BIGGEST)]
    state: Annotated[str, Meta(min_length=1)]
    name: str | None = None
    user: str | None = None
    queue_name: str | None = None
    submission_time: Instant | None = None
    array_id: Whole | None = None
    array_index: Small | None = None
    command: str | None = None
    exit_code: Small | None = None
    start_time: Instant | None = None
    stop_time: Instant | None = None
    walltime: Small | None = None
    resubmit_job_id: Whole | None = None
    message: str | None = None
    launching_directory: str | None = None
    stdout_file: str | None = None
    stderr_file: str | None = None
    nodes: list[_Node] | None = None
    resources: list[_Resource] | None = None
    events: list[_Event] | None | msgspec.UnsetType = msgspec.UNSET


class _Page(msgspec.Struct):
    total: Annotated[int, Meta(ge=0, le=BIGGEST)]
    items: list[msgspec.Raw]


class _Items(msgspec.Struct):
    total: Annotated[int, Meta(ge=0, le=BIGGEST)]
    items: list[Any]


_PAGE, _JOB = msgspec.json.Decoder(_Page), msgspec.json.Decoder(_Job)


def jobs(body: bytes) -> tuple[int, list[RemoteJob]]:
    """The total and the jobs of one page of a list."""
    same = _Same()
    try:
        if b"\\u0000" in body:
            raise ValueError("text that has to be mended")
        page = _PAGE.decode(body)
        # One by one from the bytes: of tens of thousands there is never more than is kept of them.
        return page.total, [_told(_JOB.decode(item), same) for item in page.items]
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from None
    except (ValueError, RecursionError):  # odd text, or no JSON at all
        mended = _converted(decode(body), _Items)
        return mended.total, [_told(_converted(item, _Job), same) for item in mended.items]


def job(record: Any) -> RemoteJob:
    """A job from its record alone."""
    return _told(_converted(record, _Job), _Same())


def listing(read: Callable[[Any], T]) -> Listing[T]:
    """What reads one page of a list of other things, each item as `read` reads it."""

    def whole(body: bytes) -> tuple[int, list[T]]:
        page = _converted(decode(body), _Items)
        return page.total, [read(item) for item in page.items]

    return whole


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
        unit_size=sum(map(len, units.values())) / len(units) if units else 1.0,
    )


def _converted(document: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(_storable(document), kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Malformed(str(error)) from None


class _Same(dict[str, str]):
    """One text instead of many alike ones."""

    def __missing__(self, text: str) -> str:
        self[text] = text
        return text


def _told(record: _Job, same: _Same) -> RemoteJob:
    return RemoteJob(
        record.id,
        STATES.get(record.state, RemoteState.UNKNOWN),
        same[record.name or ""],
        same[record.user or ""],
        same[record.queue_name or ""],
        _since(record.submission_time),
        record.events is not msgspec.UNSET,
        same[record.state],
        record.array_id,
        record.array_index,
        record.command or "",
        record.exit_code,
        _since(record.start_time),
        _since(record.stop_time),
        record.walltime,
        record.resubmit_job_id or 0,
        record.message or "",
        same[record.launching_directory or ""],
        record.stdout_file or "",
        record.stderr_file or "",
        _names(record.nodes, same) if record.nodes else (),
        len(record.resources) if record.resources else 0,
        _events(record.events) if record.events else (),
    )


def _since(instant: float | None) -> float:
    """Unix seconds; 0 for none (OAR also writes -1)."""
    return instant if instant is not None and instant > 0 else 0.0


def _names(nodes: list[_Node], same: _Same) -> tuple[str, ...]:
    return tuple(dict.fromkeys([same[node.network_address] for node in nodes if node.network_address]))


def _events(events: list[_Event]) -> tuple[RemoteEvent, ...]:
    """The events by age: the cluster gives them in any order."""
    found = sorted(events, key=lambda event: (_since(event.date), event.id or 0))
    return tuple(
        RemoteEvent(event.type or "", event.description or "", _since(event.date), event.to_check == "YES")
        for event in found
    )


def _storable(document: Any) -> Any:
    """The same with text that PostgreSQL takes: no NUL, no lone surrogate."""
    if isinstance(document, str):
        plain = document.isascii() and "\0" not in document  # by far the most
        return document if plain else document.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(document, dict):
        return {key: _storable(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_storable(item) for item in document]
    return document


def _objects(record: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = record.get(key)
    if not found and (found is None or isinstance(found, list)):
        return []
    if not isinstance(found, list) or not all([isinstance(item, dict) for item in found]):
        raise Malformed(f"{key} of a record is not a list of objects")
    return found


def _text(record: dict[str, Any], key: str) -> str:
    """Absent and null are empty."""
    found = record.get(key)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise Malformed(f"{key} of a record is not text")
    return found


def _whole(record: dict[str, Any], key: str, low: int) -> int:
    found = record.get(key)
    if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= BIGGEST:
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
