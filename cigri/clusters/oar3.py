"""OAR3's REST API.

OAR3's API process holds one database session: some bad requests block it for good, so what is known to do
that is refused before it leaves. Its answers of success and failure are not always meant; see docs/oar3.md.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from cigri.clusters import records
from cigri.clusters.base import Deletion, RemoteJob, Resources, Submission
from cigri.clusters.http import Params, ReplyTooLarge, ServerFault, Transport, decode
from cigri.errors import BadReply, NoAnswer, NotFound, Refused

T = TypeVar("T")

NAME_LENGTH = 60
PROJECT_LENGTH = 255
CHUNK = 500
FIRST_LIMIT = 500

ACCEPTED = frozenset({0, 6})  # exit_status of a deletion: will be deleted, was already asked for


class Oar3:
    """A cluster whose scheduler is OAR3 (see base.Cluster for what is promised)."""

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

    def clock(self) -> float:
        return self._http.read_json("/", parse=records.clock)

    def check_health(self) -> None:
        self._page("/jobs", [("limit", 1)], records.job)

    def submit(self, submission: Submission) -> int:
        _check(submission)
        try:
            body = self._http.write_json("POST", "/jobs", login=submission.login, payload=_request(submission))
        except NotFound as error:
            # The route is there on any OAR3: a front in repair says this, nothing about the jobs.
            raise NoAnswer(str(error)) from error
        array_id = body.get("id") if isinstance(body, dict) else None
        if not isinstance(array_id, int) or not _is_id(array_id):
            raise NoAnswer(f"cluster {self.name}: POST /jobs was answered without a job id")
        return array_id

    def live_jobs(self, login: str, *, details: bool = False) -> list[RemoteJob]:
        return self._of_user(login, [], details)

    def jobs_since(self, login: str, since: float, *, details: bool = False) -> list[RemoteJob]:
        return self._of_user(login, [("start_time", max(1, int(since)))], details)

    def error_jobs(self, login: str, *, details: bool = False) -> list[RemoteJob]:
        return self._of_user(login, [("states", "Error")], details)

    def jobs(self, ids: Sequence[int], *, details: bool = True) -> list[RemoteJob]:
        wanted = list(dict.fromkeys(ids))
        found: list[RemoteJob] = []
        for start in range(0, len(wanted), self._chunk):
            chunk = wanted[start : start + self._chunk]
            part = self._jobs([("job_ids", i) for i in chunk], details)
            if not {job.id for job in part} <= set(chunk):
                raise BadReply(f"cluster {self.name}: GET /jobs gave jobs that were not asked for")
            found += part
        return found

    def array(self, array_id: int, *, details: bool = True) -> list[RemoteJob]:
        if not _is_id(array_id):  # array=0 would list everybody's jobs
            raise ValueError(f"{array_id!r} is no array id")
        found = self._jobs([("array", array_id)], details)
        if any(job.array_id not in (None, array_id) for job in found):
            raise BadReply(f"cluster {self.name}: GET /jobs?array={array_id} gave jobs of other arrays")
        return found

    def job(self, job_id: int) -> RemoteJob:
        """An unknown job is answered with 500, and so is everything while the API is blocked."""
        for tries in (1, 2):
            try:
                return self._one(job_id, tries)
            except ServerFault as error:
                if error.status != 500:
                    raise
                self.check_health()
        raise NotFound(f"cluster {self.name} does not know the job {job_id}", 404)

    def delete(self, login: str, job_id: int) -> Deletion:
        if not _is_id(job_id):
            raise ValueError(f"{job_id!r} is no job id")
        try:
            body = self._http.write_json("DELETE", f"/jobs/{job_id}", login=login)
        except NotFound as error:
            raise NoAnswer(str(error)) from error
        status = body.get("exit_status") if isinstance(body, dict) else None
        if not isinstance(status, int) or isinstance(status, bool):
            raise NoAnswer(f"cluster {self.name}: DELETE /jobs/{job_id} was answered without an exit_status")
        words = body.get("cmd_output")
        return Deletion(job_id, status in ACCEPTED, " ".join(words.split()) if isinstance(words, str) else "")

    def resources(self) -> Resources:
        found = self._complete("/resources", [("detailed", "true")], records.plain)
        words: list[tuple[str, str | int]] = [("states", word) for word in records.BUSY_WORDS]
        holders = self._complete("/jobs", [*words, ("details", "true")], records.resource_ids)
        try:
            return records.count(found, frozenset[int]().union(*holders), self._resource_unit)
        except records.Malformed as error:
            raise BadReply(f"cluster {self.name}: GET /resources: {error}") from error

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
        params: list[tuple[str, str | int]] = [("path_filename", _file_path(path))]
        if tail is not None:
            params.append(("tail", tail))
        try:
            return self._http.read("/media", params, login=login)
        except ReplyTooLarge as error:
            raise Refused(f"cluster {self.name}: {path} is too large to be read whole", 413) from error

    def record(self, job_id: int) -> dict[str, Any]:
        for tries in (1, 2):
            try:
                return self._record(job_id, tries)
            except ServerFault as error:
                if error.status != 500:
                    raise
                self.check_health()
        raise NotFound(f"cluster {self.name} does not know the job {job_id}", 404)

    def renew_token(self, login: str) -> str:
        # What comes back is a secret: no part of it goes into a message.
        try:
            token = decode(self._http.read("/get_new_token", login=login))["OAR_API_TOKEN"]
        except (ValueError, KeyError, TypeError):
            token = None
        if not isinstance(token, str) or not token:
            raise BadReply(f"cluster {self.name}: GET /get_new_token was answered without a token")
        return token

    def delete_file(self, login: str, path: str) -> None:
        if len(_file_path(path).strip("/").split("/")) < 2:
            raise Refused(f"cluster {self.name}: {path} is not deleted: deletion is recursive", 403)
        self._http.write("DELETE", "/media", [("path_filename", path)], login=login)

    def _one(self, job_id: int, tries: int) -> RemoteJob:
        if not _is_id(job_id):
            raise ValueError(f"{job_id!r} is no job id")
        found = self._http.read_json(f"/jobs/{job_id}", [("details", "true")], parse=records.job, tries=tries)
        if found.id != job_id:
            raise BadReply(f"cluster {self.name}: GET /jobs/{job_id} gave job {found.id}")
        return found

    def _record(self, job_id: int, tries: int) -> dict[str, Any]:
        if not _is_id(job_id):
            raise ValueError(f"{job_id!r} is no job id")
        found = self._http.read_json(f"/jobs/{job_id}", [("details", "true")], parse=records.plain, tries=tries)
        if found.get("id") != job_id:
            raise BadReply(f"cluster {self.name}: GET /jobs/{job_id} gave another job")
        return found

    def _of_user(self, login: str, filters: list[tuple[str, str | int]], details: bool) -> list[RemoteJob]:
        if not login:  # an empty filter is no filter
            raise ValueError("a login is needed")
        found = self._jobs([("user", login), *filters], details, login)
        if any(job.user not in ("", login) for job in found):
            raise BadReply(f"cluster {self.name}: GET /jobs gave jobs of other users than {login}")
        return found

    def _jobs(self, params: list[tuple[str, str | int]], details: bool, login: str | None = None) -> list[RemoteJob]:
        # Any value of details means true, even 0.
        asked: Params = [*params, ("details", "true")] if details else params
        found = {job.id: job for job in self._complete("/jobs", asked, records.job, login)}
        if details and not all(job.detailed for job in found.values()):
            raise BadReply(f"cluster {self.name}: GET /jobs gave records without details")
        return list(found.values())

    def _complete(self, path: str, params: Params, read: Callable[[Any], T], login: str | None = None) -> list[T]:
        """A whole list on one page: pages would miss what changes between them."""
        total, items = self._page(path, [*params, ("limit", self._limit)], read, login)
        if total > self._limit:
            self._limit = total + total // 4 + 100
            total, items = self._page(path, [*params, ("limit", self._limit)], read, login)
        if len(items) != total:
            raise BadReply(f"cluster {self.name}: GET {path} gave {len(items)} of {total} records")
        return items

    def _page(
        self, path: str, params: Params, read: Callable[[Any], T], login: str | None = None
    ) -> tuple[int, list[T]]:
        try:
            return self._http.read_json(path, params, parse=lambda body: records.listing(body, read), login=login)
        except NotFound as error:
            # "Empty request" is said of a page past the end only, and these pages are the first.
            raise BadReply(str(error)) from error


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= records.BIGGEST


def _check(submission: Submission) -> None:
    """Faults of the program (ValueError), and what OAR3 takes badly (Refused)."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", submission.name) or len(submission.name) > NAME_LENGTH:
        raise ValueError(f"{submission.name!r} cannot be the name of a submission")
    if not submission.command or not submission.lines:
        raise ValueError("a submission needs a command and a line")
    if any("\n" in line or "\0" in line for line in submission.lines) or "\0" in submission.command:
        raise ValueError("a line of a submission has a newline or a NUL")
    if len(submission.project) > PROJECT_LENGTH:
        raise Refused(f"the project has more than {PROJECT_LENGTH} characters", 400)


def _request(submission: Submission) -> dict[str, Any]:
    walltime = f"walltime={submission.walltime}"
    request: dict[str, Any] = {
        "name": submission.name,
        "command": submission.command,
        "param_file": "\n".join(submission.lines),  # a newline at the end would be one more job
        "resource": [f"{submission.resources},{walltime}" if submission.resources else walltime],
        "type": list(submission.types),
        "directory": submission.directory,
    }
    if submission.properties:
        request["property"] = submission.properties
    if submission.project:
        request["project"] = submission.project
    return request


def _file_path(path: str) -> str:
    """An absolute path without `..`; OAR3 takes relative ones from the root."""
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise Refused(f"{path!r} is not an absolute path", 400)
    return posixpath.normpath(path)
