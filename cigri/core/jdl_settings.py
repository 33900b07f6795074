"""What a campaign is made of, once its JDL was read.

Every setting of a cluster is a field of ClusterJob: its type, default, reader and one sentence about it stand
there and nowhere else.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from cigri.core import jdl_values, shell
from cigri.core.states import JobKind
from cigri.core.walltime import Walltime

T = TypeVar("T")

RETRIES = 3
CORES = re.compile(r"(?:^|/)\s*(?:core|cpucore|thread|resource_id)\s*=\s*\d+\s*$")  # a request's last level
MOST_CORES = 10**6  # that a job is believed to ask for
LATER = "is not available in this version; leave it out"
NEVER = "does not exist here, nor did it ever work; leave it out"


def setting(read: Callable[[object], T], doc: str, *, default: T | None = None, refused: str = "") -> T:
    """A setting of a cluster. If `refused`, values other than the default are refused with that sentence."""
    metadata = {"read": read, "doc": doc, "refused": refused}
    if default is None:
        found: T = field(metadata=metadata)
        return found
    return field(default=default, metadata=metadata)


def optional(read: Callable[[object], T], doc: str, *, refused: str = "") -> T:
    """A setting whose default is None."""
    found: Any = field(default=None, metadata={"read": read, "doc": doc, "refused": refused})
    result: T = found
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterJob:
    """How the tasks of a campaign run on one cluster."""

    exec_file: str = setting(
        jdl_values.exec_file, "The command; the task's parameters are appended after a blank. Needed."
    )
    exec_directory: str = setting(
        jdl_values.directory,
        "Directory in which it starts; a relative one begins in the home.",
        default="$HOME",
    )
    resources: str = setting(jdl_values.resources, "OAR resources of one job, as for `oarsub -l`, without walltime.")
    walltime: Walltime = setting(
        jdl_values.duration, "How long a job may last: h, h:mm or h:mm:ss. A bare number is hours."
    )
    type: str = setting(
        jdl_values.campaign_type,
        "best-effort: the jobs give way to those of the cluster's own users; normal: they do not (not for everybody).",
        default="best-effort",
    )
    cluster_job_type: tuple[str, ...] = setting(
        jdl_values.oar_types, "More OAR types, between commas; not idempotent.", default=()
    )
    properties: str = setting(jdl_values.text, "OAR properties that the resources must have (SQL-like).", default="")
    project: str = setting(jdl_values.text, "OAR project.", default="")
    max_jobs: int | None = optional(
        jdl_values.most, "Most jobs of this campaign on the cluster at a time; none by default."
    )
    share: float = setting(
        jdl_values.weight,
        "Weight of this campaign among its owner's on the cluster: 2 gets twice as much as 1; 0.01 to 100.",
        default=1.0,
    )
    max_failures: int | None = optional(
        jdl_values.most,
        "Tasks that may fail on the cluster before the campaign gets no more jobs there; MAX_FAILURES of the grid.",
    )
    max_retries: int | None = optional(
        jdl_values.count,
        "How often a task that failed by its exit status is tried again; 0, or 3 with retry_exit_codes.",
    )
    retry_exit_codes: tuple[int, ...] = setting(
        jdl_values.exit_codes, "The exit codes after which a task is tried again; none for all of them.", default=()
    )
    rerun_lost: bool = setting(
        jdl_values.truth,
        "Whether a task whose job vanished from its cluster runs again without asking: it may have run.",
        default=False,
    )
    prologue: tuple[str, ...] = setting(
        jdl_values.shell_lines, "Shell lines run once per cluster before the tasks.", default=()
    )
    epilogue: tuple[str, ...] = setting(
        jdl_values.shell_lines, "Shell lines run once per cluster after the tasks.", default=()
    )
    prologue_walltime: Walltime | None = optional(
        jdl_values.duration_or_none, "Walltime of the prologue; walltime by default."
    )
    epilogue_walltime: Walltime | None = optional(
        jdl_values.duration_or_none, "Walltime of the epilogue; walltime by default."
    )
    test_mode: bool = setting(
        jdl_values.truth, "One job at a time on each cluster, not best-effort, ahead of other campaigns.", default=False
    )
    temporal_grouping: bool = setting(
        jdl_values.truth, "Several short tasks in one OAR job.", default=False, refused=LATER
    )
    dimensional_grouping: bool = setting(
        jdl_values.truth, "Several tasks side by side in one OAR job.", default=False, refused=NEVER
    )
    checkpointing_type: str = setting(jdl_values.none_or_text, "Checkpointing.", default="None", refused=NEVER)
    output_gathering_method: str = setting(
        jdl_values.none_or_text, "Gathering of output files.", default="None", refused=NEVER
    )
    output_file: str = setting(jdl_values.none_or_text, "Gathering of output files.", default="None", refused=NEVER)
    output_destination: str = setting(
        jdl_values.none_or_text, "Gathering of output files.", default="None", refused=NEVER
    )
    private: Mapping[str, Any] = field(default_factory=dict)

    @property
    def retries(self) -> int:
        """How often a failed task is tried again."""
        if self.max_retries is None:
            return RETRIES if self.retry_exit_codes else 0
        return self.max_retries

    @property
    def cores(self) -> int:
        """How many resources one job asks for, as far as its request says: hosts with all that they have are one."""
        return min(MOST_CORES, max(1, sum(_product(group) for group in self.resources.split("+"))))

    @property
    def choosy(self) -> bool:
        """Whether what is free may not be good for its jobs: it asks for properties, or for more than single cores."""
        asked = self.properties or "{" in self.resources
        return bool(asked) or not all(CORES.search(group) for group in self.resources.split("+"))

    @property
    def types(self) -> tuple[str, ...]:
        """The OAR types of its jobs."""
        best_effort = self.type == "best-effort" and not self.test_mode
        return ("besteffort", *self.cluster_job_type) if best_effort else self.cluster_job_type

    def stage(self, kind: JobKind) -> ClusterJob:
        """The job of the prologue or epilogue: one resource, not best-effort, in the home directory."""
        prologue = kind is JobKind.PROLOGUE
        lines = self.prologue if prologue else self.epilogue
        return dataclasses.replace(
            self,
            exec_file=shell.expand_macro("\n".join(lines), "OAR_JOB_ID", "$OAR_JOB_ID"),
            exec_directory="$HOME",
            resources="/resource_id=1",
            walltime=(self.prologue_walltime if prologue else self.epilogue_walltime) or self.walltime,
            type="normal",
        )

    def command(self, campaign_id: int) -> str:
        """The command before each line of parameters, with its macros expanded."""
        return shell.expand_macros(self.exec_file, campaign_id)

    def directory(self, campaign_id: int) -> str:
        """The directory as a cluster takes it: absolute or beginning with $HOME."""
        path = shell.expand_macros(self.exec_directory, campaign_id)
        return path if path.startswith(("/", "$HOME")) else f"$HOME/{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What a JDL says, complete, but for its tasks. `private` holds the keys that begin with `_`."""

    name: str
    clusters: Mapping[str, ClusterJob]
    jobs_type: str = "normal"
    private: Mapping[str, Any] = field(default_factory=dict)


def _product(group: str) -> int:
    """Of the numbers in /nodes=2/core=4."""
    counts = re.findall(r"=\s*(\d+)", re.sub(r"\{[^}]*\}", "", group))
    return math.prod(map(int, counts)) if counts else 1


class Setting(NamedTuple):
    """A setting as the table has it; `default` is dataclasses.MISSING where a value is needed."""

    name: str
    default: Any
    read: Callable[[object], Any]
    doc: str
    refused: str


SETTINGS: Mapping[str, Setting] = {
    entry.name: Setting(entry.name, entry.default, **entry.metadata)
    for entry in dataclasses.fields(ClusterJob)
    if entry.metadata
}
