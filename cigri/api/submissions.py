"""Campaigns and tasks that arrive: looked at whole before anything is stored, then stored in one transaction."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy.orm import Session

from cigri.api.bodies import Body
from cigri.api.context import Context
from cigri.api.errors import ApiError, refused, told
from cigri.api.replies import Json
from cigri.core import jdl, jdl_tasks, jdl_values, lenient_json
from cigri.db import campaigns
from cigri.db.campaigns import Key
from cigri.db.views import clusters
from cigri.errors import Fault, InvalidJDL

PLAIN = re.compile(rb'"([^"\\\x00-\x1f\x7f-\xff]*)"')  # a JSON string that is its own text
# Lines of such strings that jdl_tasks.checked takes, for their characters alone (see core.shell.EASY_LINE).
EASY_LINES = re.compile(rb'(?:"[ !%*+,\-./0-9:=?@A-Z\[\]^_a-z{}~]{0,16000}"\n)*')


@dataclass(frozen=True, slots=True)
class Tasks:
    """Good lines, as often as they are asked for."""

    total: int
    lines: Callable[[], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A campaign that may be stored."""

    campaign: jdl.Campaign
    tasks: Tasks
    clusters: dict[str, int]
    warnings: list[str]

    def store(self, session: Session, user: str) -> int:
        """Make it the user's; its id."""
        places = {self.clusters[name]: campaigns.Place.of(job) for name, job in self.campaign.clusters.items()}
        description, tasks = jdl.expanded(self.campaign), self.tasks
        return campaigns.create(session, user, self.campaign.name, description, places, tasks.lines(), tasks.total)

    def understood(self) -> Json:
        """What the submitter should see of how the JDL was read."""
        walltimes = {name: str(job.walltime) for name, job in self.campaign.clusters.items()}
        return {"walltimes": walltimes, "warnings": self.warnings}

    def report(self) -> Json:
        """The answer to ?dry_run."""
        message = f"Campaign {self.campaign.name} is good: {self.tasks.total} tasks. Nothing was stored"
        head = {"status": 200, "title": "OK", "message": message, "total_jobs": self.tasks.total}
        return head | self.understood() | {"jdl": jdl.expanded(self.campaign)}


def read_campaign(here: Context, body: Body) -> Wanted:
    """The campaign in the body. Refuses it with all its faults."""
    with here.transaction() as session:
        known = {view.cluster.name: view.cluster.id for view in clusters.clusters(session)}
    faults: list[Fault] = []
    warnings: list[str] = []
    campaign, tasks = None, Tasks(0, list)
    try:
        raw, warnings = lenient_json.loads(_description(body))
        campaign, more = jdl.parse(
            raw,
            known_clusters=known,
            default_resources=here.settings.default_job_resources,
            default_walltime=here.settings.default_job_walltime,
            streamed=body.is_lines,
        )
        warnings += more
        if not body.is_lines:
            tasks = _tasks(lambda: jdl_tasks.lines(raw, {}))
    except InvalidJDL as error:
        faults += error.faults
    if body.is_lines:
        try:
            tasks = _checked_lines(body, skipped=1)
        except InvalidJDL as error:
            faults += error.faults
    if campaign is None or faults:
        raise _bad("Error submitting campaign", InvalidJDL(faults))
    return Wanted(campaign, tasks, {name: known[name] for name in campaign.clusters}, warnings)


def read_tasks(body: Body) -> Tasks:
    """The tasks in the body: an array of parameters, or a line for each. Refuses them with all their faults."""
    try:
        if body.is_lines:
            return _checked_lines(body, skipped=0)
        lines = jdl_tasks.parameters(lenient_json.loads(body.text())[0])
    except InvalidJDL as error:
        raise _bad("Error adding tasks", error) from error
    return Tasks(len(lines), lambda: lines)


def idempotency_key(here: Context, body: Body) -> Key | None:
    """What makes this request one with those that came, or will come, with the same header."""
    word = here.request.headers.get("idempotency-key", "").strip()
    if not word:
        return None
    if len(word) > 128 or not (word.isascii() and word.isprintable()):
        raise refused("Idempotency-Key must be at most 128 plain characters")
    return Key(word, body.digest)


def checked_name(name: str) -> str:
    """A name that a campaign may have."""
    try:
        found: str = jdl_values.campaign_name(name)
    except ValueError as error:
        raise refused(f"Error updating campaign: name {error}") from None
    return found


def _bad(what: str, error: InvalidJDL) -> ApiError:
    faults = [{"path": one.path, "message": one.message, "value": one.value} for one in error.faults]
    return ApiError(400, f"{what}: {told(error)}", title="Error", faults=faults[:100])


def _description(body: Body) -> str:
    if not body.is_lines:
        return body.text()
    try:
        return next(body.lines(), b"").decode()
    except UnicodeDecodeError:
        raise refused("The first line of the body is not UTF-8 text") from None


def _tasks(lines: Callable[[], Iterable[str]]) -> Tasks:
    return Tasks(sum(1 for _ in lines()), lines)


def _checked_lines(body: Body, *, skipped: int) -> Tasks:
    """The lines after the first `skipped`, numbered from 1."""
    if (easy := _easy(body, skipped)) is not None:
        return Tasks(easy, lambda: map(jdl_tasks.line_of, _values(body, skipped)))
    good = jdl_tasks.checked(_values(body, skipped), lambda index: f"line {index + 1}")
    total = sum(1 for _ in good)
    return Tasks(total, lambda: map(jdl_tasks.line_of, _values(body, skipped)))


def _easy(body: Body, skipped: int) -> int | None:
    """How many lines follow the first `skipped` (0 or 1), where a glance tells that all are good; else None."""
    total = 0
    for number, block in enumerate(body.blocks()):
        part = block.partition(b"\n")[2] if number < skipped else block
        if not EASY_LINES.fullmatch(part if part.endswith(b"\n") or not part else part + b"\n"):
            return None
        total += part.count(b"\n") + (bool(part) and not part.endswith(b"\n"))
    return total


def _values(body: Body, skipped: int) -> Iterator[Any]:
    """The JSON value of each line; what is no JSON comes as Unreadable."""
    match = PLAIN.fullmatch
    for line in islice(body.lines(), skipped, None):
        plain = match(line)
        yield plain[1].decode("ascii") if plain else _value(line)


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return Unreadable(line.decode("utf-8", "replace"))


class Unreadable:
    """A line that is no JSON: as a parameter it is refused like any value that is no string."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text
