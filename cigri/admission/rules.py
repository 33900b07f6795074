"""The rules of a directory: read when they change, tried one after the other, and refusing all when one is broken."""

from __future__ import annotations

import copy
import inspect
import logging
import os
import re
import threading
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cigri.admission import trust
from cigri.core import lenient_json
from cigri.errors import CigriError, InvalidJDL

log = logging.getLogger(__name__)

NAME = re.compile(r"[0-9][0-9]-[A-Za-z0-9_-]+\.py", re.ASCII)
Json = dict[str, Any]
Admit = Callable[[Json, str, "Context"], Json | None]


class Refuse(CigriError):
    """A rule refuses the campaign; the message is the sentence that its user reads."""


class Broken(CigriError):
    """A rule cannot be used, so nothing is let through. `file` is the one to mend, `why` is for the administrator."""

    def __init__(self, file: Path, why: str) -> None:
        self.file, self.why = file, why
        super().__init__(f"{file}: {why}")

    def told(self) -> str:
        """What users read."""
        return f"the grid's admission rules are broken, tell the administrator: {self.file}"


@dataclass(frozen=True)
class Context:
    """What a rule may want to know beside the JDL and the user."""

    tasks: int  # of the campaign, with those that are being added
    unfinished: int = 0  # other campaigns of the user that are in treatment or paused
    clusters: tuple[str, ...] = ()  # all that the grid knows
    administrators: tuple[str, ...] = ()
    campaign: int | None = None  # the one that tasks are added to; None for a new one
    opens: bool = True  # whether the user has one unfinished campaign more afterwards
    max_tasks: int = 0  # MAX_TASKS_PER_CAMPAIGN
    max_campaigns: int = 0  # MAX_CAMPAIGNS_PER_USER
    user_lists_file: str = ""

    @cached_property
    def user_lists(self) -> Mapping[str, Any]:
        """The file USER_LISTS_FILE, a JSON object; empty where there is none. Raises Broken."""
        path = Path(self.user_lists_file)
        if not self.user_lists_file or not path.exists():
            return {}
        try:
            trust.check_folder(path.parent.resolve())
            found, _ = lenient_json.loads(trust.read(path).decode())
        except (OSError, trust.Untrusted, UnicodeDecodeError, InvalidJDL) as error:
            raise Broken(path, str(error)) from error
        if not isinstance(found, dict):
            raise Broken(path, "is no JSON object: { ... }")
        return found


@dataclass(frozen=True)
class Rule:
    """One file."""

    path: Path
    admit: Admit


class Rules:
    """The rules in a directory; no directory, no rules. May be used by several threads."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory) if directory else None
        self._lock = threading.Lock()
        self._seen: object = None
        self._rules: tuple[Rule, ...] = ()

    def current(self) -> tuple[Rule, ...]:
        """The rules in order, read again when their files have changed. Raises Broken."""
        if self._directory is None:
            return ()
        with self._lock:
            try:
                seen = _fingerprint(self._directory)
            except OSError as error:
                raise Broken(self._directory, f"{error.strerror} (ADMISSION_RULES_DIRECTORY)") from error
            if seen != self._seen:
                self._rules, self._seen = read(self._directory), seen
                log.info("%s: %d admission rules", self._directory, len(self._rules))
            return self._rules

    def admit(self, jdl: Mapping[str, Any], user: str, context: Context) -> Json:
        """The JDL as the rules leave it. Raises Refuse, and Broken where a rule fails to say yes or no."""
        given = copy.deepcopy(dict(jdl))
        for rule in self.current():
            given = _tried(rule, given, user, context)
        return given


def _tried(rule: Rule, jdl: Json, user: str, context: Context) -> Json:
    try:
        found = rule.admit(jdl, user, context)
    except (Refuse, Broken):
        raise
    except (Exception, SystemExit) as error:
        log.exception("admission rule %s", rule.path)
        raise Broken(rule.path, f"{type(error).__name__}: {error}") from error
    if found is None:
        return jdl
    if not isinstance(found, dict):
        raise Broken(rule.path, f"admit returned neither None nor a JDL, but {found!r:.60}")
    return found


def read(directory: Path) -> tuple[Rule, ...]:
    """All rules of a directory in the order of their names. Raises Broken, OSError when it cannot be read."""
    try:
        trust.check_folder(directory.resolve())
    except trust.Untrusted as error:
        raise Broken(directory, str(error)) from error
    return tuple(_rule(directory / name) for name in _names(directory))


def _names(directory: Path) -> list[str]:
    """What ends in .py counts; hidden files, which editors leave, and others do not."""
    return sorted(name for name in os.listdir(directory) if name.endswith(".py") and not name.startswith("."))


def _rule(path: Path) -> Rule:
    if not NAME.fullmatch(path.name):
        raise Broken(path, "the name of a rule is two digits, a dash, a word and .py, as 30-projects.py")
    module = types.ModuleType(f"cigri_admission_rule_{path.stem.replace('-', '_')}")
    module.__dict__.update(Refuse=Refuse, __file__=str(path))
    try:
        exec(compile(trust.read(path), path, "exec"), module.__dict__)  # noqa: S102 - what rules are for
    except (trust.Untrusted, OSError) as error:
        raise Broken(path, str(error)) from error
    except (Exception, SystemExit) as error:
        raise Broken(path, f"{type(error).__name__}: {error}") from error
    admit = getattr(module, "admit", None)
    try:
        inspect.signature(admit).bind({}, "", None)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise Broken(path, "it has no function admit(jdl, user, context)") from None
    return Rule(path, admit)  # type: ignore[arg-type]


def _fingerprint(directory: Path) -> object:
    """What differs when a rule, or who may write it, was changed."""
    real = directory.resolve()
    files = [(name, os.lstat(directory / name)) for name in _names(directory)]
    marks = [(name, file.st_ino, file.st_mtime_ns, file.st_ctime_ns, file.st_size) for name, file in files]
    folders = [(place.st_ino, place.st_mode, place.st_uid) for place in map(os.stat, (real, *real.parents))]
    return (real, marks, folders)
