"""OAR3's REST API.

OAR3's API process holds one database session: some bad requests block it for good, so what is known to do
that is refused before it leaves. Its answers of success and failure are not always meant; see docs/oar3.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from cigri.clusters import records
from cigri.clusters.base import Deletion, RemoteJob, Submission
from cigri.clusters.document import decode
from cigri.clusters.http import ServerFault
from cigri.clusters.oar import Filters, Oar, is_id, request
from cigri.errors import BadReply, NoAnswer, NotFound

T = TypeVar("T")

ACCEPTED = frozenset({0, 6})  # exit_status of a deletion: will be deleted, was already asked for


class Oar3(Oar):
    """A cluster whose scheduler is OAR3 (see base.Cluster for what is promised)."""

    RESOURCES: ClassVar[str] = "/resources"
    DETAILS: ClassVar[Filters] = [("detailed", "true")]

    def check_health(self) -> None:
        self._page("/jobs", [("limit", 1)], records.jobs)

    def live_jobs(self, login: str, *, details: bool = False) -> list[RemoteJob]:
        return self._of_user(login, [], details)

    def jobs_since(self, login: str, since: float, *, details: bool = False) -> list[RemoteJob]:
        return self._of_user(login, [("start_time", max(1, int(since)))], details)

    def error_jobs(self, login: str, *, details: bool = False) -> list[RemoteJob]:
        return self._of_user(login, [("states", "Error")], details)

    def job(self, job_id: int) -> RemoteJob:
        return self._known(job_id, records.job)

    def record(self, job_id: int) -> dict[str, Any]:
        return self._known(job_id, records.plain)

    def delete(self, login: str, job_id: int) -> Deletion:
        if not is_id(job_id):
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

    def renew_token(self, login: str) -> str:
        # What comes back is a secret: no part of it goes into a message.
        try:
            token = decode(self._http.read("/get_new_token", login=login))["OAR_API_TOKEN"]
        except (ValueError, KeyError, TypeError):
            token = None
        if not isinstance(token, str) or not token:
            raise BadReply(f"cluster {self.name}: GET /get_new_token was answered without a token")
        return token

    def _post(self, submission: Submission) -> Any:
        return self._http.write_json("POST", "/jobs", login=submission.login, payload=request(submission))

    def _known(self, job_id: int, read: Callable[[Any], T]) -> T:
        """An unknown job is answered with 500, and so is everything while the API is blocked."""
        for tries in (1, 2):
            try:
                return self._about(job_id, f"/jobs/{job_id}", [("details", "true")], read, tries=tries)
            except ServerFault as error:
                if error.status != 500:
                    raise
                self.check_health()
        raise NotFound(f"cluster {self.name} does not know the job {job_id}", 404)

    def _by_ids(self, ids: Sequence[int]) -> Filters:
        return [("job_ids", job_id) for job_id in ids]

    def _jobs(self, params: Filters, details: bool, login: str | None = None) -> list[RemoteJob]:
        # Any value of details means true, even 0.
        asked: Filters = [*params, ("details", "true")] if details else params
        found = {job.id: job for job in self._complete("/jobs", asked, records.jobs, login)}
        if details and not all(job.detailed for job in found.values()):
            raise BadReply(f"cluster {self.name}: GET /jobs gave records without details")
        return list(found.values())

    def _busy(self) -> frozenset[int]:
        words: Filters = [("states", word) for word in records.BUSY_WORDS]
        holders = self._complete("/jobs", [*words, ("details", "true")], records.listing(records.resource_ids))
        return frozenset[int]().union(*holders)

    def _file(self, login: str, path: str) -> tuple[str, Filters]:
        return "/media", [("path_filename", path)]
