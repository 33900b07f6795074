"""The description of a campaign (JDL): read, completed, and told with all its faults at once."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from cigri.core import jdl_tasks, jdl_values, walltime
from cigri.core.jdl_settings import SETTINGS, Campaign, ClusterJob, Setting
from cigri.core.jdl_tasks import SOURCES, shown
from cigri.core.walltime import Walltime
from cigri.errors import Fault, InvalidJDL

__all__ = ["Campaign", "ClusterJob", "expanded", "parse", "stored"]

GLOBALS = ("name", "clusters", "jobs_type", *SOURCES)
MOST_GUESSES = 20  # of what was meant
LONGEST_GUESSED = 60


def parse(
    raw: object,
    *,
    known_clusters: Collection[str] | None,
    default_resources: str,
    default_walltime: str,
    streamed: bool = False,
) -> tuple[Campaign, list[str]]:
    """The campaign that a JDL describes, and warnings. Raises InvalidJDL with every fault in it.

    The lines of params are checked too (jdl_tasks.lines gives them). With `streamed` the tasks come separately,
    and the JDL must not have a source of tasks. `known_clusters` None takes every name of a cluster.
    """
    reading = Reading()
    if not isinstance(raw, Mapping):
        raise InvalidJDL([Fault("campaign", "must be a JSON object: { ... }", shown(raw))])
    given = reading.folded(raw, "")
    reading.tasks(given, streamed=streamed)
    defaults = {"resources": default_resources, "walltime": walltime.parse(default_walltime)}
    shared = reading.settings({key: value for key, value in given.items() if key not in GLOBALS}, "", GLOBALS)
    clusters = reading.clusters(given.get("clusters"), shared, defaults)
    if known_clusters is not None:
        clusters = reading.known(clusters, known_clusters)
    name = reading.value(given, "name", jdl_values.campaign_name, needed=True)
    jobs_type = reading.value(given, "jobs_type", jdl_values.jobs_type) or "normal"
    if reading.faults:
        raise InvalidJDL(reading.faults)
    jobs = {cluster: ClusterJob(**values) for cluster, values in clusters.items()}
    campaign = Campaign(name=name, clusters=jobs, jobs_type=jobs_type, private=shared.get("private", {}))
    return campaign, reading.warnings


def expanded(campaign: Campaign) -> dict[str, Any]:
    """The campaign as JSON, every cluster with every setting; the tasks are in the database."""
    clusters = {name: job_json(job) for name, job in campaign.clusters.items()}
    own = {"name": campaign.name, "jobs_type": campaign.jobs_type, "clusters": clusters}
    return {**campaign.private, **own}


def job_json(job: ClusterJob) -> dict[str, Any]:
    found = {name: value_json(name, getattr(job, name)) for name in SETTINGS}
    return {**job.private, **found}


def value_json(name: str, value: object) -> object:
    if isinstance(value, Walltime):
        return str(value)
    if isinstance(value, tuple):
        return ",".join(value) if name == "cluster_job_type" else list(value)
    return value


def stored(data: Mapping[str, Any]) -> Campaign:
    """The campaign that `expanded` wrote. Raises InvalidJDL if it is not such a one."""
    reading = Reading(refuse=False)
    clusters = reading.clusters(data.get("clusters"), {}, {})
    name = reading.value(data, "name", jdl_values.campaign_name, needed=True)
    if reading.faults:
        raise InvalidJDL(reading.faults)
    return Campaign(
        name=name,
        clusters={cluster: ClusterJob(**values) for cluster, values in clusters.items()},
        jobs_type=data.get("jobs_type", "normal"),
        private={key: value for key, value in data.items() if key.startswith("_")},
    )


class Reading:
    """One JDL being read: what was noticed so far."""

    def __init__(self, *, refuse: bool = True) -> None:
        self.refuse = refuse
        self.faults: list[Fault] = []
        self.warnings: list[str] = []
        self.guesses = 0

    def fault(self, path: str, message: str, *value: object) -> None:
        self.faults.append(Fault(path, message, shown(value[0]) if value else None))

    def folded(self, given: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The keys in lower case, without those whose value is null."""
        found: dict[str, Any] = {}
        for key, value in given.items():
            lower = key if key.startswith("_") else key.lower()
            if lower in found:
                self.warnings.append(f'"{path}{lower}" stands there several times: the last one counts')
            found[lower] = value
        return {key: value for key, value in found.items() if value is not None or key.startswith("_")}

    def value(self, given: Mapping[str, Any], key: str, read: Callable[[object], Any], *, needed: bool = False) -> Any:
        """The value of a key of the whole campaign; None with a fault noted if it has none."""
        if key not in given:
            if needed:
                self.fault(key, "is missing")
            return None
        try:
            return read(given[key])
        except ValueError as error:
            self.fault(key, str(error), given[key])
            return None

    def settings(self, given: Mapping[str, Any], path: str, others: Iterable[str]) -> dict[str, Any]:
        """The settings of a cluster, or those that hold for every cluster; `others` may stand there too."""
        found: dict[str, Any] = {}
        for key, value in given.items():
            entry = SETTINGS.get(key)
            if key.startswith("_"):
                self.private(f"{path}{key}", value)
                found.setdefault("private", {})[key] = value
            elif entry is None:
                self.unknown(key, path, others)
            else:
                self.setting(entry, value, path, found)
        return found

    def setting(self, entry: Setting, value: object, path: str, found: dict[str, Any]) -> None:
        where = f"{path}{entry.name}"
        found[entry.name] = None  # also when it is a fault: it was given
        try:
            found[entry.name] = entry.read(value)
        except ValueError as error:
            self.fault(where, str(error), value)
            return
        if self.refuse and entry.refused and found[entry.name] != entry.default:
            self.fault(where, entry.refused, value)

    def unknown(self, key: str, path: str, others: Iterable[str]) -> None:
        if key in GLOBALS:
            self.fault(f"{path}{key}", "belongs to the top level of the JDL, not to a cluster")
            return
        hint = self.meant(key, [*SETTINGS, *others]) or ' (keys of your own begin with "_")'
        self.fault(f"{path}{key}", f"is not a key of a JDL{hint}")

    def meant(self, word: str, known: Collection[str]) -> str:
        """What may have been meant instead; not for ever, as each guess takes time."""
        self.guesses += 1
        if self.guesses > MOST_GUESSES or len(word) > LONGEST_GUESSED:
            return ""
        close = difflib.get_close_matches(word, known, n=1)
        return f' (did you mean "{close[0]}"?)' if close else ""

    def private(self, path: str, value: object) -> None:
        """Values of private keys are free, but what no database keeps."""
        for part in texts(value):
            if "\0" in part or any("\ud800" <= char <= "\udfff" for char in part):
                self.fault(path, "has a NUL character or half of a surrogate pair", value)
                return

    def clusters(
        self, given: object, shared: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> dict[str, dict[str, Any]]:
        """The settings of each cluster: its own, else those for all, else the defaults."""
        if not isinstance(given, Mapping) or not given:
            example = 'must be an object with at least one cluster: {"NAME": {}}'
            self.fault("clusters", "is missing" if given is None else example, *([] if given is None else [given]))
            return {}
        found: dict[str, dict[str, Any]] = {}
        common = {key: value for key, value in shared.items() if key != "private"}
        for name, settings in given.items():
            path = f"clusters.{name}"
            if settings is not None and not isinstance(settings, Mapping):
                self.fault(path, "must be an object with the settings of this cluster: {}", settings)
                continue
            own = self.settings(self.folded(settings or {}, f"{path}."), f"{path}.", ())
            found[name] = {**defaults, **common, **own}
            self.best_effort(found[name], f"{path}." if own.keys() & {"type", "cluster_job_type", "test_mode"} else "")
        self.needed(found)
        return found

    def best_effort(self, values: dict[str, Any], path: str) -> None:
        """Leave besteffort to `type`, which adds it; note where that says something else."""
        types = values.get("cluster_job_type") or ()
        if "besteffort" not in types:
            return
        values["cluster_job_type"] = tuple(word for word in types if word != "besteffort")
        why = 'type is normal: write "type": "best-effort"' if values.get("type") == "normal" else ""
        if values.get("test_mode"):
            why = "in test mode jobs are not best-effort: leave test_mode out"
        fault = Fault(f"{path}cluster_job_type", f"has besteffort, but {why}, or leave besteffort out")
        if why and fault not in self.faults:
            self.faults.append(fault)

    def needed(self, clusters: Mapping[str, Mapping[str, Any]]) -> None:
        """Note what has neither a value nor a default."""
        for key in [name for name, entry in SETTINGS.items() if entry.default is dataclasses.MISSING]:
            lacking = [name for name, values in clusters.items() if key not in values]
            if len(lacking) == len(clusters):
                lacking = lacking[:0]
                if clusters:
                    self.fault(key, "is missing")
            for name in lacking:
                self.fault(f"clusters.{name}.{key}", "is missing")

    def known(self, clusters: dict[str, dict[str, Any]], names: Collection[str]) -> dict[str, dict[str, Any]]:
        """The clusters that the grid has; the others are left out with a warning."""
        kept = {name: values for name, values in clusters.items() if name in names}
        for name in clusters.keys() - kept.keys():
            self.warnings.append(f'cluster "{name}" is not one of this grid: left out{self.meant(name, names)}')
        if clusters and not kept:
            listed = ", ".join(sorted(names)) or "none"
            self.fault("clusters", f"none of these is a cluster of this grid, which has: {listed}", [*clusters])
        return kept

    def tasks(self, given: Mapping[str, Any], *, streamed: bool) -> None:
        """Note the faults of the sources of tasks, and of the lines in params."""
        if streamed:
            for key in jdl_tasks.sources(given):
                self.fault(key, "the tasks come in the lines that follow: leave it out")
            return
        faults = jdl_tasks.source_faults(given)
        if not faults and "param_file" in given:
            message = "the server does not open files: send the campaign with gridsub -f, which reads it as you"
            faults = [Fault("param_file", message, shown(given["param_file"]))]
        if not faults:
            try:
                for _line in jdl_tasks.lines(given):
                    pass
            except InvalidJDL as error:
                faults = error.faults
        self.faults += faults


def texts(value: object) -> Iterable[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
