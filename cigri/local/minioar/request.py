"""What a POST on /jobs asks for: read as OAR3 does, with its refusals."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cigri.local.minioar.job import Need

DEFAULT_WALLTIME = 7200
LONGEST_NAME = 100
TYPES = ("besteffort", "idempotent", "deploy", "timesharing", "container", "inner", "cosystem", "noop", "token")
NODE_UNITS = ("nodes", "network_address", "cpu")
SINGLE_UNITS = ("core", "resource_id")


class Refusal(Exception):
    """The request is answered with this status and body (a detail, or plain text for a 500)."""

    def __init__(self, status: int, detail: object = "Internal Server Error") -> None:
        self.status = status
        self.detail = detail
        super().__init__(f"{status} {detail}")


@dataclass(frozen=True, slots=True)
class JobRequest:
    """An array of jobs. `commands` has one command line per job."""

    initial_request: str
    commands: list[str]
    need: Need
    walltime: int
    walltime_word: str
    types: list[str]
    queue: str
    directory: str
    name: str | None
    project: str
    properties: str
    stdout: str
    stderr: str
    hold: bool


def read(body: bytes) -> JobRequest:
    """The request in the body; raises Refusal as OAR3 would answer."""
    fields = _object(body)
    command = _text(fields, "command", required=True)
    if not command:
        raise Refusal(501, "Not Implemented")
    name = _text(fields, "name")
    if name is not None and (len(name) > LONGEST_NAME or not re.fullmatch(r"[\w.+-]+", name)):
        raise Refusal(501, "Not Implemented")
    types = _types(fields)
    home = str(Path.home())
    command = command.replace("$HOME", home)
    need, walltime, word = read_resources(_list(fields, "resource"))
    return JobRequest(
        initial_request=command,
        commands=_commands(command, _text(fields, "param_file"), _number(fields, "array")),
        need=need,
        walltime=walltime,
        walltime_word=word,
        types=types,
        queue=_queue(fields, types),
        directory=(_text(fields, "directory") or home).replace("$HOME", home),
        name=name,
        project=_text(fields, "project") or "default",
        properties=_properties(_text(fields, "property"), types),
        stdout=_file(fields, "stdout", name),
        stderr=_file(fields, "stderr", name),
        hold=fields.get("hold") in (True, 1, "true", "yes", "on", "1"),
    )


def _object(body: bytes) -> dict[str, Any]:
    if not body:
        raise Refusal(422, [_fault(["body"], "field required", "value_error.missing")])
    try:
        fields = json.loads(body)
    except (ValueError, UnicodeDecodeError) as error:
        place = getattr(error, "pos", 0)
        raise Refusal(422, [_fault(["body", place], str(error), "value_error.jsondecode")]) from error
    if not isinstance(fields, dict):
        raise Refusal(422, [_fault(["body"], "value is not a valid dict", "type_error.dict")])
    return fields


def _fault(place: list[object], message: str, kind: str) -> dict[str, object]:
    return {"loc": place, "msg": message, "type": kind}


def _text(fields: dict[str, Any], key: str, *, required: bool = False) -> str | None:
    value = fields.get(key)
    if value is None:
        if not required:
            return None
        if key in fields:
            raise Refusal(422, [_fault(["body", key], "none is not an allowed value", "type_error.none.not_allowed")])
        raise Refusal(422, [_fault(["body", key], "field required", "value_error.missing")])
    if isinstance(value, (dict, list, bool)):
        raise Refusal(422, [_fault(["body", key], "str type expected", "type_error.str")])
    if "\x00" in str(value):
        raise Refusal(500)
    return str(value)


def _list(fields: dict[str, Any], key: str) -> list[str]:
    value = fields.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refusal(422, [_fault(["body", key], "value is not a valid list", "type_error.list")])
    return [str(item) for item in value]


def _number(fields: dict[str, Any], key: str) -> int | None:
    value = fields.get(key)
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError) as error:
        fault = _fault(["body", key], "value is not a valid integer", "type_error.integer")
        raise Refusal(422, [fault]) from error


def _types(fields: dict[str, Any]) -> list[str]:
    types = _list(fields, "type")
    for word in types:
        if re.split("[=:]", word)[0] not in TYPES:
            rule = f"[ADMISSION RULE] Error: unknown job type: {word}."
            raise Refusal(403, f"A failed admission rule prevented submitting the job: {rule}")
    return types


def _queue(fields: dict[str, Any], types: list[str]) -> str:
    queue = _text(fields, "queue") or "default"
    if queue == "admin":
        rule = "\"getgrnam(): name not found: 'admin'\"."
        raise Refusal(403, f"A failed admission rule prevented submitting the job: {rule}")
    if queue not in ("default", "besteffort"):
        raise Refusal(400, f"queue {queue} does not exist")
    return "besteffort" if "besteffort" in types else queue


def _properties(asked: str | None, types: list[str]) -> str:
    parts = [f"({asked})"] if asked else []
    if "besteffort" in types:
        parts.append("(besteffort = 'YES')")
    return " AND ".join([*parts, "drain='NO'"])


def _file(fields: dict[str, Any], stream: str, name: str | None) -> str:
    asked = _text(fields, stream)
    if asked is None:
        return f"OAR.%jobname%.%jobid%.{stream}" if name else f"OAR.%jobid%.{stream}"
    if re.search(r"[;&|<>`$\n'\"]", asked):
        raise Refusal(400, f"invalid {stream} file name (bad character)")
    return asked


def _commands(command: str, param_file: str | None, array: int | None) -> list[str]:
    if param_file:
        return [f"{command} {line}" for line in param_file.split("\n")]
    return [command] * max(array or 1, 1)


def read_resources(asked: list[str]) -> tuple[Need, int, str]:
    """The need, the walltime in seconds, and the word it was given by, of OAR's `-l` strings (the first)."""
    need, walltime, word = Need(1), DEFAULT_WALLTIME, ""
    if not asked:
        return need, walltime, word
    text, _, tail = asked[0].partition(",")
    if text.strip().startswith("walltime="):
        text, tail = "", text
    if tail.strip():
        word = tail.strip().removeprefix("walltime=")
        walltime = read_walltime(word)
    return (_need(text.strip()) if text.strip() else need), walltime, word


def read_walltime(word: str) -> int:
    """Seconds of h, h:mm or h:mm:ss."""
    try:
        parts = [int(part) for part in word.split(":")]
    except ValueError as error:
        raise Refusal(500) from error
    if len(parts) > 3:
        raise Refusal(500)
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return hours * 3600 + minutes * 60 + seconds


def _need(text: str) -> Need:
    nodes, each = 0, 0
    for level in text.strip("/").split("/"):
        unit, equals, count = level.partition("=")
        if not equals or not re.fullmatch(r"-?\d+|ALL|BEST", count.strip()):
            raise Refusal(500)
        unit = unit.strip()
        if unit == "type":
            rule = "[ADMISSION RULE] type as resource type is not allowed .."
            raise Refusal(403, f"A failed admission rule prevented submitting the job: {rule}")
        if unit not in NODE_UNITS + SINGLE_UNITS:
            names = "network_address, cpu, core, resource_id"
            message = f"Bad resources name: {unit} is not a valid resources name.Valid resource names are: {names}"
            raise Refusal(400, message)
        if not count.strip().lstrip("-").isdigit():
            raise Refusal(400, "ALL and BEST are not known here: give a number")
        if unit in ("nodes", "network_address") or unit == "cpu" and not nodes:
            nodes = int(count)
        elif unit != "cpu":
            each = (each or 1) * int(count)
    if (nodes, each) == (0, 0) or each < 0 or nodes < 0:
        raise Refusal(400, "There are not enough resources for your request")
    return Need(each, nodes)


def is_poison(command: str) -> bool:
    """Whether OAR's executor would choke on the command."""
    return "\\'" in command or command.endswith("\\")


def as_run(command: str) -> str:
    """The command as the shell gets it after the executor's own reading."""
    return command.replace("\\\\", "\\")


def output_file(pattern: str, job_id: int, array_id: int, array_index: int, name: str | None) -> str:
    """The name of an output file, with OAR's marks replaced."""
    marks = {"jobid": job_id, "arrayid": array_id, "arrayindex": array_index, "jobname": name or ""}
    for mark, value in marks.items():
        pattern = pattern.replace(f"%{mark}%", str(value))
    return pattern
