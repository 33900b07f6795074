"""OAR 2.5's REST API.

It is a script around oarsub, oardel and SQL: what is sent goes through two shells on the cluster's front end, and
what went wrong there comes back as the text of a command. What a shell of the API's own user would make something
of is refused before it leaves; see docs/oar2.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NoReturn, TypeVar
from urllib.parse import quote

from msgspec.structs import replace

from cigri.clusters import records
from cigri.clusters.base import Deletion, RemoteJob, RemoteState, Submission
from cigri.clusters.oar import Filters, Oar, is_id, request
from cigri.core.shell import job_key
from cigri.errors import BadReply, NoAnswer, NotFound, Refused, TokenRefused

T = TypeVar("T")

# Its records say the same under other names, different ones in /jobs/table and in /jobs/details.
OTHER_NAMES = {
    "job_user": "user",
    "owner": "user",
    "job_name": "name",
    "queue": "queue_name",
    "submission": "submission_time",
}
LIVE_WORDS = ",".join(word for word, state in records.STATES.items() if not state.final)
DETAILS_CHUNK = 50  # details cost the cluster up to 0.1 s a job
READER = "cigri"  # one job is shown to whoever has a name, whatever it is

# What oarsub says, and its exit statuses, when it has not put any job into the database ...
REFUSALS = re.compile(r"/!\\|Unknown option:|invalid for option|: cd: |\[ADMISSION RULE\] Error|Oarsub failed, please")
ADMISSION_STATUS = range(240, 255)
# ... and what may mean anything all the same: the first job of several, a database or a server that went away.
MADE = re.compile(r"OAR_(?:JOB|ARRAY)_ID *= *[1-9]")
BROKEN = re.compile(r"Cannot connect|server closed the connection|terminating connection|no connection to the server")
STATUS = re.compile(r"Oarsub command exited with status (\d+): *")
CHATTER = re.compile(
    r"\[ADMISSION RULE\] (?:Set|Modify|Automatically)|Simple array|OAR_JOB_ID=-|\[ERROR\] Oarsub failed"
)

ALREADY_ASKED = "already killed"
SAFE_PATH = re.compile(r"/(?:[\w.,:@%+=/-])*")
# Shells and their quotes on the way take these; nothing of the kind is in what OAR itself could use.
UNFIT = re.compile(r"[\\`\x00-\x1f\x7f]")


class Oar25(Oar):
    """A cluster whose scheduler is OAR 2.5 (see base.Cluster for what is promised)."""

    RESOURCES: ClassVar[str] = "/resources/details"
    DETAILS: ClassVar[Filters] = []
    LIST_TRIES: ClassVar[int] = 4  # it counts in a query of its own: jobs change between the two

    def check_health(self) -> None:
        """When its database fails in the middle of a request, lists are answered as empty ones."""
        self._page("/jobs", [("state", "Waiting"), ("limit", 1)], records.listing(records.plain))
        if not self._page("/resources", [("limit", 1)], records.listing(records.plain))[0]:
            raise BadReply(f"cluster {self.name} shows no resources at all: it does not read its database")

    def live_jobs(self, login: str, *, details: bool = False) -> list[RemoteJob]:
        # Said in full: a site may have changed what is shown when nothing is asked for.
        return self._of_user(login, [("state", LIVE_WORDS)], details)

    def jobs_since(self, login: str, since: float, *, details: bool = False) -> list[RemoteJob]:
        return self._of_user(login, [("from", max(1, int(since)))], details)

    def error_jobs(self, login: str, *, details: bool = False) -> list[RemoteJob]:
        return self._of_user(login, [("state", "Error")], details)

    def job(self, job_id: int) -> RemoteJob:
        return self._known(job_id, job)

    def record(self, job_id: int) -> dict[str, Any]:
        return self._known(job_id, records.plain)

    def renew_token(self, login: str) -> str:
        raise Refused(f"cluster {self.name} runs OAR 2.5, which knows no tokens", 404)

    def stress_factor(self) -> float | None:
        found = self._http.read_json("/stress_factor", parse=records.plain)
        if "GLOBAL_STRESS" not in found:  # no script, or it says something else
            return None
        try:
            return records.stress(found)
        except records.Malformed as error:
            raise BadReply(f"cluster {self.name}: GET /stress_factor: {error}") from error

    def delete(self, login: str, job_id: int) -> Deletion:
        if not is_id(job_id):
            raise ValueError(f"{job_id!r} is no job id")
        self._check_login(login)
        try:
            body = self._http.write_json("DELETE", f"/jobs/{job_id}", login=login)
        except NotFound as error:
            raise NoAnswer(str(error)) from error
        except TokenRefused:
            raise
        except Refused as error:
            # In one text: asked for before, of another user, unknown, or out of order.
            return Deletion(job_id, ALREADY_ASKED in error.detail, " ".join(error.detail.split()) or str(error))
        words = body.get("oardel_output") if isinstance(body, dict) else None
        if not isinstance(words, str):
            raise NoAnswer(f"cluster {self.name}: DELETE /jobs/{job_id} was answered without oardel's output")
        return Deletion(job_id, accepted=True, message=" ".join(words.split()))

    def _post(self, submission: Submission) -> Any:
        self._check_login(submission.login)
        try:
            return self._http.write_json("POST", "/jobs", login=submission.login, payload=_escaped(submission))
        except (NotFound, TokenRefused):
            raise
        except (Refused, NoAnswer) as error:
            self._judge(error)

    def _judge(self, error: Refused | NoAnswer) -> NoReturn:
        """Tell refusals by the text: statuses 400 and 500 are both said of them and of jobs that came to be."""
        status, text = STATUS.match(error.detail), error.detail.partition("\n\nCmd:\n")[0]
        if status is None:  # not from oarsub
            raise error
        refused = (REFUSALS.search(text) or int(status[1]) in ADMISSION_STATUS) and not BROKEN.search(text)
        if not refused or MADE.search(text):
            raise NoAnswer(str(error)) from error
        lines = [line for line in text[status.end() :].splitlines() if not CHATTER.match(line)]
        words = " ".join(" ".join(lines).split())[:500] or f"oarsub ended with status {status[1]}"
        raise Refused(f"cluster {self.name} refuses the submission: {words}", 400, text) from error

    def _known(self, job_id: int, read: Callable[[Any], T]) -> T:
        """While its database is out of order it knows no job."""
        for _ in (1, 2):
            try:
                return self._about(job_id, f"/jobs/{job_id}/details", [], read, login=READER)
            except NotFound:
                self.check_health()
        raise NotFound(f"cluster {self.name} does not know the job {job_id}", 404)

    def _by_ids(self, ids: Sequence[int]) -> Filters:
        return [("ids", ":".join(map(str, ids)))]

    def _jobs(self, params: Filters, details: bool, login: str | None = None) -> list[RemoteJob]:
        """From the table, which is one query over there; details, which are many, only of what has begun."""
        found = {each.id: each for each in self._complete("/jobs/table", params, records.listing(table_job), login)}
        if not details:
            return list(found.values())
        begun = [each.id for each in found.values() if each.state not in (RemoteState.WAITING, RemoteState.HOLD)]
        for start in range(0, len(begun), DETAILS_CHUNK):
            chunk = begun[start : start + DETAILS_CHUNK]
            part = {
                each.id: each for each in self._complete("/jobs/details", self._by_ids(chunk), records.listing(job))
            }
            if part.keys() != set(chunk) or not all(each.detailed for each in part.values()):
                raise BadReply(f"cluster {self.name}: GET /jobs/details gave other jobs than asked for, or no details")
            found |= part
        found |= {each.id: each for each in self._restarts(found.values())}
        return [replace(each, detailed=True) for each in found.values()]

    def _restarts(self, found: Iterable[RemoteJob]) -> list[RemoteJob]:
        """Jobs of a grid with one key, again: only one by one does it say whether it has restarted them by itself."""
        seen: set[str] = set()
        again = []
        for each in sorted(found, key=lambda each: each.id):
            if job_key(each.command) is None:
                continue
            if each.command in seen:
                again.append(each.id)
            seen.add(each.command)
        return [self.job(job_id) for job_id in again]

    def _busy(self) -> frozenset[int]:
        return self._http.read_json("/resources/resource_id/jobs", parse=_holders)

    def _file(self, login: str, path: str) -> tuple[str, Filters]:
        self._check_login(login)
        if not SAFE_PATH.fullmatch(path) or "/-" in path:
            # It goes into a command line of the API's own user as it is.
            raise Refused(f"cluster {self.name}: OAR 2.5 cannot be asked for {path!r}: it has odd characters", 400)
        return f"/media{quote(path)}", []

    def _check_login(self, login: str) -> None:
        if not re.fullmatch(r"\w+", login, re.ASCII):
            # It would take the first part for the whole: first.last would act as first.
            raise TokenRefused(f"cluster {self.name}: OAR 2.5 knows only logins of letters, digits and _: {login!r}")


def job(record: Any) -> RemoteJob:
    """A job from GET /jobs/details or GET /jobs/ID/details."""
    return records.job({OTHER_NAMES.get(key, key): value for key, value in records.plain(record).items()})


def table_job(record: Any) -> RemoteJob:
    """A job from GET /jobs/table, where the names of its output files have its number still to come."""
    found = job(record)
    stdout, stderr = (name.replace("%jobid%", str(found.id)) for name in (found.stdout_file, found.stderr_file))
    return replace(found, stdout_file=stdout, stderr_file=stderr)


def _holders(body: Any) -> frozenset[int]:
    """The resources that have jobs; their ids are told as text."""
    items = records.plain(body).get("items")
    if not isinstance(items, list):
        raise records.Malformed("the reply is no list of items")
    busy = set()
    for item in items:
        plain = records.plain(item)
        if not isinstance(plain.get("jobs"), list) or not re.fullmatch(r"\d+", str(plain.get("resource_id"))):
            raise records.Malformed("a resource has no list of jobs")
        if plain["jobs"]:
            busy.add(int(plain["resource_id"]))
    return frozenset(busy)


def _escaped(submission: Submission) -> dict[str, Any]:
    """The body of a submission of which, behind both shells, what is meant is left.

    `$` is escaped everywhere but in $HOME of the directory, which the shell on the front end replaces.
    The lines go through a file and are not touched, save for what is taken as a comment there.
    """
    if any("#" in line or not line.strip() or not line.isascii() for line in submission.lines):
        raise ValueError("a line of a submission would be cut off, left out or garbled by OAR 2.5")
    body = request(submission)
    for key in ("command", "property", "project"):
        if key in body:
            body[key] = _quoted(body[key], key)
    for key in ("resource", "type"):
        body[key] = [_quoted(each, key) for each in body[key]]
    body["directory"] = re.sub(r"\\\$(?=HOME\b)", "$", _quoted(body["directory"], "directory"))
    return body


def _quoted(text: str, what: str) -> str:
    if UNFIT.search(text):
        raise Refused(f"the {what} {text!r} has a character that cannot be sent to OAR 2.5", 400)
    return text.replace("$", r"\$")
