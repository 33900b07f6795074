"""What the REST APIs of all OARs have in common; oar3 and oar2_5 say how each differs."""

from __future__ import annotations

import posixpath
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from cigri.clusters import records
from cigri.clusters.base import RemoteJob, Resources, Submission
from cigri.clusters.http import Params, ReplyTooLarge, ServerFault, Transport
from cigri.clusters.records import Listing
from cigri.errors import BadReply, NoAnswer, NotFound, Refused

T = TypeVar("T")
Filters = list[tuple[str, str | int]]

NAME_LENGTH = 60
PROJECT_LENGTH = 255
CHUNK = 500
FIRST_LIMIT = 500


class Oar(ABC):
    """A cluster whose scheduler is an OAR (see base.Cluster for what is promised)."""

    RESOURCES: ClassVar[str]  # where the resources are listed with all their properties
    DETAILS: ClassVar[Filters]  # what asks for these properties, if the path alone does not
    LIST_TRIES: ClassVar[int] = 1  # how often a list is asked for that comes with another count than its own

    def __init__(
        self,
        transport: Transport,
        *,
        resource_unit: str = "resource_id",
        chunk: int = CHUNK,
        first_limit: int = FIRST_LIMIT,
    ) -> None:
        self.name = transport.name
        self._http = transport
        self._resource_unit = resource_unit
        self._chunk = max(1, min(chunk, CHUNK))
        self._limit = max(1, first_limit)

    # --- what differs, besides the methods of the protocol that are not here

    @abstractmethod
    def _post(self, submission: Submission) -> Any:
        """Send the array; the reply."""

    @abstractmethod
    def _by_ids(self, ids: Sequence[int]) -> Filters:
        """What asks for these jobs."""

    @abstractmethod
    def _jobs(self, params: Filters, details: bool, login: str | None = None) -> list[RemoteJob]:
        """The jobs that a list shows, complete."""

    @abstractmethod
    def _busy(self) -> frozenset[int]:
        """The ids of the resources that have a job."""

    @abstractmethod
    def _file(self, login: str, path: str) -> tuple[str, Filters]:
        """Where a file is under the API; `path` is absolute and without `..`."""

    # --- what is common

    def clock(self) -> float:
        return self._http.read_json("/", parse=records.clock)

    def submit(self, submission: Submission) -> int:
        check(submission)
        try:
            body = self._post(submission)
        except NotFound as error:
            # The route is there on any OAR: a front in repair says this, nothing about the jobs.
            raise NoAnswer(str(error)) from error
        array_id = body.get("id") if isinstance(body, dict) else None
        if not isinstance(array_id, int) or not is_id(array_id):
            raise NoAnswer(f"cluster {self.name}: POST /jobs was answered without a job id")
        return array_id

    def jobs(self, ids: Sequence[int], *, details: bool = True) -> list[RemoteJob]:
        wanted = list(dict.fromkeys(ids))
        found: list[RemoteJob] = []
        for start in range(0, len(wanted), self._chunk):
            chunk = wanted[start : start + self._chunk]
            part = self._jobs(self._by_ids(chunk), details)
            if not {job.id for job in part} <= set(chunk):
                raise BadReply(f"cluster {self.name}: GET /jobs gave jobs that were not asked for")
            found += part
        return found

    def array(self, array_id: int, *, details: bool = True) -> list[RemoteJob]:
        if not is_id(array_id):  # array=0 would list everybody's jobs
            raise ValueError(f"{array_id!r} is no array id")
        found = self._jobs([("array", array_id)], details)
        if any(job.array_id not in (None, array_id) for job in found):
            raise BadReply(f"cluster {self.name}: GET /jobs?array={array_id} gave jobs of other arrays")
        return found

    def resources(self) -> Resources:
        found = self._complete(self.RESOURCES, self.DETAILS, records.listing(records.plain))
        try:
            return records.count(found, self._busy(), self._resource_unit)
        except records.Malformed as error:
            raise BadReply(f"cluster {self.name}: GET {self.RESOURCES}: {error}") from error

    def stress_factor(self) -> float | None:
        try:
            return self._http.read_json("/stress_factor", parse=records.stress)
        except NotFound:
            return None
        except ServerFault as error:
            if error.status == 500:  # the site has no script for it
                return None
            raise

    def read_file(self, login: str, path: str, tail: int | None = None) -> bytes:
        if tail is not None and tail < 1:
            raise ValueError("tail must be 1 or more")
        where, params = self._file(login, plain_path(path))
        if tail is not None:
            params.append(("tail", tail))
        try:
            return self._http.read(where, params, login=login)
        except ReplyTooLarge as error:
            raise Refused(f"cluster {self.name}: {path} is too large to be read whole", 413) from error

    def delete_file(self, login: str, path: str) -> None:
        plain = plain_path(path)
        if len(plain.strip("/").split("/")) < 2:
            raise Refused(f"cluster {self.name}: {path} is not deleted: deletion is recursive", 403)
        where, params = self._file(login, plain)
        self._http.write("DELETE", where, params, login=login)

    def _of_user(self, login: str, filters: Filters, details: bool) -> list[RemoteJob]:
        if not login:  # an empty filter is no filter
            raise ValueError("a login is needed")
        found = self._jobs([("user", login), *filters], details, login)
        if any(job.user not in ("", login) for job in found):
            raise BadReply(f"cluster {self.name}: GET /jobs gave jobs of other users than {login}")
        return found

    def _complete(self, path: str, params: Params, read: Listing[T], login: str | None = None) -> list[T]:
        """A whole list on one page: pages would miss what changes between them."""
        total, items = self._page(path, [*params, ("limit", self._limit)], read, login)
        if total > self._limit:
            self._limit = total + total // 4 + 100
            total, items = self._page(path, [*params, ("limit", self._limit)], read, login)
        for _ in range(self.LIST_TRIES - 1):
            if len(items) == total:
                break
            total, items = self._page(path, [*params, ("limit", self._limit)], read, login)
        if len(items) != total:
            raise BadReply(f"cluster {self.name}: GET {path} gave {len(items)} of {total} records")
        return items

    def _page(self, path: str, params: Params, read: Listing[T], login: str | None = None) -> tuple[int, list[T]]:
        try:
            return self._http.read_as(path, params, parse=read, login=login)
        except NotFound as error:
            # "Empty request" is said of a page past the end only, and these pages are the first.
            raise BadReply(str(error)) from error

    def _about(self, job_id: int, path: str, params: Params, read: Callable[[Any], T], **how: Any) -> T:
        """What `read` makes of the record of one job, which must be about that job."""
        if not is_id(job_id):
            raise ValueError(f"{job_id!r} is no job id")

        def own(body: Any) -> T:
            if records.plain(body).get("id") != job_id:
                raise records.Malformed(f"it is not about job {job_id}")
            return read(body)

        return self._http.read_json(path, params, parse=own, **how)


def is_id(value: Any) -> bool:
    """Whether this can be the id of a job."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= records.BIGGEST


def check(submission: Submission) -> None:
    """Faults of the program (ValueError), and what every OAR takes badly (Refused)."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", submission.name) or len(submission.name) > NAME_LENGTH:
        raise ValueError(f"{submission.name!r} cannot be the name of a submission")
    if not submission.command or not submission.lines:
        raise ValueError("a submission needs a command and a line")
    if any("\n" in line or "\0" in line for line in submission.lines) or "\0" in submission.command:
        raise ValueError("a line of a submission has a newline or a NUL")
    if len(submission.project) > PROJECT_LENGTH:
        raise Refused(f"the project has more than {PROJECT_LENGTH} characters", 400)


def request(submission: Submission) -> dict[str, Any]:
    """The body of a submission."""
    walltime = f"walltime={submission.walltime}"
    body: dict[str, Any] = {
        "name": submission.name,
        "command": submission.command,
        "param_file": "\n".join(submission.lines),  # a newline at the end would be one more job
        "resource": [f"{submission.resources},{walltime}" if submission.resources else walltime],
        "type": list(submission.types),
        "directory": submission.directory,
    }
    if submission.properties:
        body["property"] = submission.properties
    if submission.project:
        body["project"] = submission.project
    return body


def plain_path(path: str) -> str:
    """An absolute path without `..`; OAR takes relative ones from the root."""
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise Refused(f"{path!r} is not an absolute path", 400)
    return posixpath.normpath(path)
