"""Where the tasks of a campaign come from: params, param_file or nb_jobs of its JDL, or a stream of lines.

Used by the server and by gridsub, which alone opens files, as the user who calls it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from cigri.core import shell
from cigri.errors import Fault, InvalidJDL

SOURCES = ("params", "param_file", "nb_jobs")
MOST_NUMBERED = 10_000_000
MOST_FAULTS = 20  # told of one source; the others are counted
BLANKS = " \t\r\n\v\f"
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)


def shown(value: object) -> str:
    """A value as a fault quotes it: JSON, cut short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 60 else f"{text[:57]}..."


def sources(raw: Mapping[str, object]) -> dict[str, object]:
    """The keys of the JDL that give tasks, in lower case, with their values."""
    return {key.lower(): value for key, value in raw.items() if key.lower() in SOURCES and value is not None}


def without_sources(raw: Mapping[str, object]) -> dict[str, object]:
    """The JDL as it goes before a stream of lines."""
    return {key: value for key, value in raw.items() if key.lower() not in SOURCES}


def source_faults(raw: Mapping[str, object]) -> list[Fault]:
    """Faults of which sources there are: there must be one."""
    found = sources(raw)
    if not found:
        return [Fault("params", "no tasks: give params, param_file or nb_jobs")]
    if len(found) > 1:
        return [Fault(key, f"tasks come from one source, not from {' and '.join(found)}") for key in found]
    return []


def lines(raw: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """The lines of the tasks; a param_file is opened here and now, by this process.

    Good lines are yielded as they come; InvalidJDL with all faults is raised after the last one, so that what
    was done with them must be undone then. Raises InvalidJDL at once if there is not one source.
    """
    faults = source_faults(raw)
    if faults:
        raise InvalidJDL(faults)
    ((key, value),) = sources(raw).items()
    if key == "nb_jobs":
        yield from map(str, range(numbered(value)))
    elif key == "params":
        yield from checked(listed(value), lambda index: f"params[{index}]")
    else:
        path, numbers = file_path(value, environ), NumberedLines()
        yield from checked(numbers.read(path), lambda index: f"{path} line {numbers.last}")


def numbered(value: object) -> int:
    """The value of nb_jobs."""
    text = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) and int(text) <= MOST_NUMBERED:
        return int(text)
    message = f"must be a whole number from 0 to {MOST_NUMBERED}"
    raise InvalidJDL([Fault("nb_jobs", message, shown(value))])


def listed(value: object) -> list[object]:
    """The value of params."""
    if not isinstance(value, list):
        raise InvalidJDL([Fault("params", "must be an array of strings, one per task", shown(value))])
    return value


def line_of(value: object) -> str:
    """An element of params as a line; ValueError if it is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return json.dumps(value)
    raise ValueError("must be a string (or a number)")


def checked(values: Iterable[object], where: Callable[[int], str]) -> Iterator[str]:
    """The values as lines of tasks; after the last one InvalidJDL with the faults that were met.

    `where` gives the path of a fault from the value's index.
    """
    faults: list[Fault] = []
    count = 0
    check = shell.check_line
    for index, value in enumerate(values):
        try:
            line = line_of(value)
            fault = check(line)
        except ValueError as error:
            fault = str(error)
        if fault is None:
            yield line
            continue
        count += 1
        if count <= MOST_FAULTS:
            faults.append(Fault(where(index), fault, shown(value)))
    if count > MOST_FAULTS:
        faults.append(Fault("params", f"{count - MOST_FAULTS} more lines have such faults"))
    if faults:
        raise InvalidJDL(faults)


def parameters(value: object) -> list[str]:
    """The lines of tasks that are added to a campaign: an array, as in params."""
    return list(checked(listed(value), lambda index: f"params[{index}]"))


def file_path(value: object, environ: Mapping[str, str]) -> str:
    """The path that a param_file means: `~`, `{HOME}` and `$VAR` are expanded."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidJDL([Fault("param_file", "must be a path", shown(value))])

    def variable(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in environ:
            raise InvalidJDL([Fault("param_file", f"the variable {name} is not set", shown(value))])
        return environ[name]

    return os.path.expanduser(VARIABLE.sub(variable, shell.expand_home(value.strip())))


class NumberedLines:
    """A reader of files that knows the number of the line it gave last."""

    def __init__(self) -> None:
        self.last = 0

    def read(self, path: str) -> Iterator[str]:
        """The lines of a file that are not blank, without blanks at their ends."""
        try:
            with open(path, encoding="utf-8-sig", newline="\n") as file:
                for self.last, line in enumerate(file, 1):
                    stripped = line.strip(BLANKS)
                    if stripped:
                        yield stripped
        except OSError as error:
            raise InvalidJDL([Fault("param_file", f"cannot be read: {error.strerror}", path)]) from None
        except UnicodeDecodeError:
            raise InvalidJDL([Fault("param_file", "is not a text file in UTF-8", path)]) from None
