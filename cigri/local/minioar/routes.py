"""The requests that minioar answers, as OAR3 answers them; and the knobs under /minioar/."""

from __future__ import annotations

import hmac
import json
import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

from cigri.local.minioar import forms, journal, media, request
from cigri.local.minioar.engine import Engine
from cigri.local.minioar.faults import Fault, Faults
from cigri.local.minioar.job import ALL_WORDS
from cigri.local.minioar.request import Refusal
from cigri.local.minioar.store import Wanted
from cigri.local.minioar.tokens import Desk, bearer

VERSION = "3.0.3dev"
API_VERSION = "3.0.0.dev11"
DATABASE_ROUTES = ("/jobs", "/resources")


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. `half` and `corpse` are faults that strike in the middle of the work."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    half: bool = False
    corpse: bool = False

    def text(self, name: str) -> str:
        """A query parameter, empty if it is not there."""
        return self.query.get(name, [""])[-1]

    def numbers(self, name: str) -> list[int]:
        """All values of a query parameter that must be whole numbers."""
        return [_number(word, ["query", name, place]) for place, word in enumerate(self.query.get(name, []))]

    def number(self, name: str, default: int) -> int:
        """A query parameter that must be a whole number."""
        return _number(self.text(name), ["query", name]) if name in self.query else default


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def parse(method: str, target: str, headers: dict[str, str], body: bytes) -> Request:
    """The request with its path and query read."""
    path, _, query = target.partition("?")
    return Request(method, unquote(path), parse_qs(query, keep_blank_values=True), headers, body)


def as_json(shape: object, status: int = 200, **headers: str) -> Reply:
    """A JSON reply."""
    return Reply(status, json.dumps(shape, separators=(",", ":"), ensure_ascii=False).encode(), headers=headers)


def failure() -> Reply:
    """OAR3's answer when something in it has broken."""
    return Reply(500, b"Internal Server Error", "text/plain; charset=utf-8")


def unauthorized() -> Reply:
    """OAR3's answer to who brings a bad token."""
    detail = {"detail": "Could not validate credentials !!! "}
    return as_json(detail, 401, **{"www-authenticate": "Bearer"})


def _number(word: str, place: list[object]) -> int:
    try:
        return int(word)
    except ValueError as error:
        fault = {"loc": place, "msg": "value is not a valid integer", "type": "type_error.integer"}
        raise Refusal(422, [fault]) from error


def _absent(job: int) -> str:
    return f"#WARNING: Cannot frag {job} ; Job does not exist. -3\n"


def _stamped(**shape: object) -> Reply:
    return as_json(shape | {"api_timestamp": time.time(), "api_timezone": "UTC"})


def _page(total: int, offset: int) -> None:
    """Refuse a page that OAR3 refuses."""
    if offset < 0:
        raise Refusal(404, "Pagination out of bounds")
    if offset and offset >= total:
        raise Refusal(404, "Empty request")


class Routes:
    """Answers requests from the engine's jobs.

    With a token, every request must bring it. With a desk, each user has a token of their own, and it is asked for
    where OAR3 asks for it: not for lists of jobs and resources, unless the front in front of the API is closed.
    """

    def __init__(
        self, engine: Engine, faults: Faults, token: str | None, desk: Desk | None = None, *, closed: bool = False
    ) -> None:
        self.engine = engine
        self.desk = desk
        self.closed = closed
        self.faults = faults
        self.token = token
        patterns: list[tuple[str, str, Callable[..., Reply]]] = [
            ("GET", r"/", self.root),
            ("GET", r"/version", self.version),
            ("GET", r"/timezone", self.timezone),
            ("GET", r"/whoami", self.whoami),
            ("GET", r"/check_token", self.check_token),
            ("GET", r"/get_new_token", self.new_token),
            ("GET", r"/stress_factor/?", self.stress),
            ("GET", r"/resources/?", self.list_resources),
            ("GET", r"/resources/busy", self.busy),
            ("GET", r"/jobs/?", self.list_jobs),
            ("POST", r"/jobs/?", self.submit),
            ("GET", r"/jobs/([^/]+)", self.show),
            ("DELETE", r"/jobs/([^/]+)", self.delete),
            ("POST", r"/jobs/([^/]+)/deletions/new", self.delete),
            ("POST", r"/jobs/([^/]+)/hold/new", self.hold),
            ("POST", r"/jobs/([^/]+)/resumptions/new", self.resume),
            ("GET", r"/jobs/([^/]+)/events", self.events),
            ("GET", r"/jobs/([^/]+)/resources", self.job_resources),
            ("GET", r"/media/?", self.read_media),
            ("DELETE", r"/media/?", self.delete_media),
            ("POST", r"/minioar/faults", self.set_faults),
            ("GET", r"/minioar/faults", self.told_faults),
            ("DELETE", r"/minioar/faults", self.clear_faults),
            ("POST", r"/minioar/kill_besteffort", self.kill_besteffort),
            ("GET", r"/minioar/journal", self.read_journal),
            ("POST", r"/minioar/stress", self.set_stress),
            ("POST", r"/minioar/suspend_nodes", self.suspend_nodes),
            ("POST", r"/minioar/resubmit", self.resubmit),
            ("POST", r"/minioar/hide", self.hide),
            ("POST", r"/minioar/jump", self.jump),
        ]
        self.patterns = [(method, re.compile(pattern), route) for method, pattern, route in patterns]

    def answer(self, asked: Request) -> Reply:
        """The reply to a request, refusals included."""
        try:
            self._admit(asked)
            return self._route(asked)
        except Refusal as refusal:
            if refusal.status == 500:
                return failure()
            headers = {"www-authenticate": "Bearer"} if refusal.status == 401 else {}
            return as_json({"detail": refusal.detail}, refusal.status, **headers)

    def _route(self, asked: Request) -> Reply:
        known = False
        for method, pattern, route in self.patterns:
            found = pattern.fullmatch(asked.path)
            if found and method == asked.method:
                return route(asked, *found.groups())
            known = known or found is not None
        if known:
            raise Refusal(405, "Method Not Allowed")
        if asked.method == "GET" and re.fullmatch(r"/jobs/\d+/", asked.path):
            return Reply(307, headers={"location": asked.path.rstrip("/")})
        raise Refusal(404, "Not Found")

    def _admit(self, asked: Request) -> None:
        """Refuse who does not bring the token, in OAR3's words."""
        if self.closed and self.desk is not None and not asked.path.startswith("/minioar/"):
            self._user(asked)
        if self.token is None:
            return
        word = bearer(asked.headers.get("authorization", ""))
        if not hmac.compare_digest(word.encode(), self.token.encode()):
            raise Refusal(401, "Could not validate credentials !!! ")

    def _user(self, asked: Request) -> str:
        """Who asks: as the user's own token says, else as the header does."""
        if self.desk is not None:
            return self.desk.user(bearer(asked.headers.get("authorization", "")))
        return asked.headers.get("x-remote-ident", "") or self.engine.account

    def _row(self, word: str) -> sqlite3.Row:
        row = self.engine.store.row(_number(word, ["path", "job_id"]))
        if row is None or row["id"] in self.engine.unknown():
            raise Refusal(500)
        return row

    # Front pages

    def root(self, asked: Request) -> Reply:
        return _stamped(api_version=API_VERSION, apilib_version=API_VERSION, oar_version=VERSION)

    def version(self, asked: Request) -> Reply:
        return _stamped(
            oar_server_version=VERSION,
            oar_version=VERSION,
            oar_lib_version=VERSION,
            api_version=API_VERSION,
            apilib_version=API_VERSION,
        )

    def timezone(self, asked: Request) -> Reply:
        return _stamped()

    def whoami(self, asked: Request) -> Reply:
        try:
            user = self._user(asked)
        except Refusal as refusal:
            if refusal.status != 401:
                raise
            user = ""  # OAR3 answers so for a token that has expired
        return _stamped(authenticated_user=user)

    def new_token(self, asked: Request) -> Reply:
        if self.desk is None:
            raise Refusal(404, "Not Found")
        return _stamped(OAR_API_TOKEN=self.desk.renew(bearer(asked.headers.get("authorization", ""))))

    def check_token(self, asked: Request) -> Reply:
        return _stamped(user=self._user(asked), auth="Token valid")

    def stress(self, asked: Request) -> Reply:
        value = self.engine.store.fact("stress", "0.0")
        if value == "missing":
            raise Refusal(404, "Unable to retrieve STRESS_FACTOR")
        if value == "broken":
            raise Refusal(500)
        return _stamped(GLOBAL_STRESS=value)

    # Resources

    def list_resources(self, asked: Request) -> Reply:
        node = asked.text("network_address")
        found = [item for item in self.engine.resources.values() if not node or item.node == node]
        limit, offset = asked.number("limit", 25), asked.number("offset", 0)
        if limit < 0:
            raise Refusal(500)
        _page(len(found), offset)
        detailed = asked.text("detailed").lower() in ("true", "1", "yes", "on")
        shape = forms.resource_detailed if detailed else forms.resource_short
        items = [shape(item) for item in found[offset : offset + limit]]
        return _stamped(total=len(found), offset=offset, items=items)

    def busy(self, asked: Request) -> Reply:
        return _stamped(busy=len(self.engine.busy))

    # Jobs

    def list_jobs(self, asked: Request) -> Reply:
        states = tuple(asked.query.get("states", ()))
        if set(states) - ALL_WORDS:
            raise Refusal(500)
        wanted = Wanted(
            ids=tuple(asked.numbers("job_ids")),
            array=asked.number("array", 0),
            states=states,
            user=asked.text("user"),
            since=asked.number("start_time", 0),
            to=asked.number("stop_time", 0),
        )
        limit, offset = asked.number("limit", 500), asked.number("offset", 0)
        if limit < 0 or max(limit, offset, abs(wanted.array)) >= 1 << 63:
            raise Refusal(500)
        total, rows = self.engine.store.page(wanted, self.engine.unlisted(), limit, max(offset, 0))
        _page(total, offset)
        items = self._detailed(rows) if asked.text("details") else [forms.short(row) for row in rows]
        return as_json({"total": total, "offset": offset, "items": items})

    def _detailed(self, rows: list[sqlite3.Row]) -> list[forms.Shape]:
        events = self.engine.store.events([row["id"] for row in rows])
        return [forms.detailed(row, events[row["id"]], self.engine.resources) for row in rows]

    def show(self, asked: Request, job: str) -> Reply:
        row = self._row(job)
        return as_json(self._detailed([row])[0] if asked.text("details") else forms.whole(row))

    def events(self, asked: Request, job: str) -> Reply:
        number = _number(job, ["path", "job_id"])
        items = self.engine.store.events([number])[number]
        return as_json({"total": len(items), "offset": 0, "items": items})

    def job_resources(self, asked: Request, job: str) -> Reply:
        row = self.engine.store.row(_number(job, ["path", "job_id"]))
        held = [] if row is None else json.loads(row["resources"])
        known = self.engine.resources
        items = [{"id": number, "network_address": known[number].node} for number in held if number in known]
        return as_json({"total": len(items), "offset": 0, "items": items})

    def submit(self, asked: Request) -> Reply:
        wanted = request.read(asked.body)
        count = max(len(wanted.commands) // 2, 1) if asked.half else None
        return as_json({"id": self.engine.submit(wanted, self._user(asked), count=count, corpse=asked.corpse)})

    def delete(self, asked: Request, job: str) -> Reply:
        number = _number(job, ["path", "job_id"])
        user = self._user(asked)
        if not asked.text("array"):
            text, status, accepted = self._delete_one(number, user)
            if status in (0, 6):
                text += "\n" if status == 0 else ""
                text += f"The job(s) {accepted}  will be deleted in the near future.\n"
            return as_json({"id": number, "cmd_output": text, "exit_status": status})
        rows = self.engine.store.array(number)
        if not rows:
            text = f"#WARNING: There are no job for this array job ({number}) 4\n"
            return as_json({"id": number, "cmd_output": text, "exit_status": 0})
        output, worst, all_accepted = "", 0, []
        for row in rows:
            text, status, accepted = self._delete_one(row["id"], user)
            output += text + ("\n" if status == 0 else "")
            worst = max(worst, status)
            all_accepted += accepted
        output += f"The job(s) {all_accepted}  will be deleted in the near future.\n"
        return as_json({"id": number, "cmd_output": output, "exit_status": worst})

    def _delete_one(self, number: int, user: str) -> tuple[str, int, list[int]]:
        """What OAR says, its exit status, and the job if it was accepted."""
        text = f"Deleting the job = {number} ...\n"
        row = self.engine.store.row(number)
        if row is None:
            return text + _absent(number), 7, []
        if user not in (row["user"], "oar", "root"):
            return text + f"#ERROR: Cannot frag {number} ; You are not the right user. -1\n", 1, []
        if row["frag"]:
            return text + f"#WARNING: Cannot frag {number} ; This job was already killed. -2\n", 6, []
        self.engine.frag(row, user)
        return text, 0, [number]

    def deny_job(self, asked: Request) -> Reply | None:
        """What a wedged OAR3 says to the deletion of any job: that there is none. None: it is not about a job."""
        found = re.fullmatch(r"/jobs/(\d+)", asked.path)
        if found is None:
            return None
        number = int(found[1])
        text = f"Deleting the job = {number} ...\n" + _absent(number)
        return as_json({"id": number, "cmd_output": text, "exit_status": 7})

    def hold(self, asked: Request, job: str) -> Reply:
        number = _number(job, ["path", "job_id"])
        if self.engine.hold(number):
            text, status = f"[{number}] Hold request was sent to the OAR server.\n", 0
        else:
            why = "the job is not in the right state (try '-r' option). -3"
            text, status = f"#ERROR: /!\\ Cannot hold {number} : {why}\n", 1
        return as_json({"id": number, "cmd_output": text, "exit_status": status})

    def resume(self, asked: Request, job: str) -> Reply:
        number = _number(job, ["path", "job_id"])
        if self.engine.resume(number):
            text, status = f"[{number}] Resume request was sent to the OAR server.\n", 0
        else:
            why = "the job is not in the right state. -3"
            if self.engine.store.row(number) is None:
                why = "this job does not exist. -1"
            text, status = f"#ERROR: /!\\ Cannot resume {number} : {why}\n", 1
        return as_json({"id": number, "cmd_output": text, "exit_status": status})

    # Files

    def read_media(self, asked: Request) -> Reply:
        self._user(asked)
        path, tail = self._media_path(asked), asked.number("tail", 0)
        return Reply(200, media.read(path, tail), "application/octet-stream")

    def delete_media(self, asked: Request) -> Reply:
        self._user(asked)
        media.delete(self._media_path(asked))
        return Reply(204)

    def _media_path(self, asked: Request) -> str:
        if "path_filename" not in asked.query:
            fault = {"loc": ["query", "path_filename"], "msg": "field required", "type": "value_error.missing"}
            raise Refusal(422, [fault])
        return asked.text("path_filename")

    # Knobs

    def _orders(self, asked: Request) -> dict[str, object]:
        try:
            orders = json.loads(asked.body or b"{}")
        except ValueError as error:
            raise Refusal(422, str(error)) from error
        if not isinstance(orders, dict):
            raise Refusal(422, "an object is wanted")
        return orders

    def set_faults(self, asked: Request) -> Reply:
        try:
            body = json.loads(asked.body)
            body = {"faults": body} if isinstance(body, list) else body
            rules = [Fault(**rule) for rule in body["faults"]]
        except (ValueError, TypeError, KeyError) as error:
            raise Refusal(422, str(error)) from error
        self.faults.set(rules, int(body.get("seed", 0)))
        return as_json({"faults": len(rules)})

    def told_faults(self, asked: Request) -> Reply:
        return as_json({"struck": self.faults.told})

    def clear_faults(self, asked: Request) -> Reply:
        struck = self.faults.told
        self.faults.set([], 0)
        return as_json({"struck": struck})

    def kill_besteffort(self, asked: Request) -> Reply:
        count = self._orders(asked).get("count", 1)
        return as_json({"killed": self.engine.kill_besteffort(_number(str(count), ["body", "count"]))})

    def read_journal(self, asked: Request) -> Reply:
        entries = list(journal.read(self.engine.journal, asked.number("since", 0)))
        words = {"S": "start", "E": "end", "F": "fail"}
        items = [
            {"what": words[entry.what], "job_id": entry.job, "time": entry.time}
            | ({"status": int(entry.text)} if entry.what == "E" else {})
            | ({"reason": entry.text} if entry.what == "F" else {})
            for entry in entries
        ]
        return as_json({"items": items, "next": entries[-1].next if entries else asked.number("since", 0)})

    def set_stress(self, asked: Request) -> Reply:
        self.engine.store.remember("stress", str(self._orders(asked).get("value", "0.0")))
        self.engine.store.commit()
        return as_json({})

    def suspend_nodes(self, asked: Request) -> Reply:
        orders = self._orders(asked)
        nodes, state = orders.get("nodes", []), str(orders.get("state", "Suspected"))
        if not isinstance(nodes, list):
            raise Refusal(422, "nodes: a list is wanted")
        return as_json({"resources": self.engine.set_node_states([str(node) for node in nodes], state)})

    def resubmit(self, asked: Request) -> Reply:
        orders = self._orders(asked)
        row = self._row(str(orders.get("job_id", "")))
        return as_json({"id": self.engine.resubmit(row, float(str(orders.get("hidden_seconds", 0))))})

    def hide(self, asked: Request) -> Reply:
        orders = self._orders(asked)
        wanted, seconds = orders.get("job_ids", []), float(str(orders.get("seconds", 1)))
        if not isinstance(wanted, list):
            raise Refusal(422, "job_ids: a list is wanted")
        numbers = [_number(str(number), ["body", "job_ids"]) for number in wanted]
        self.engine.hide(numbers, seconds, wholly=bool(orders.get("wholly")))
        return as_json({"hidden": numbers})

    def jump(self, asked: Request) -> Reply:
        by = _number(str(self._orders(asked).get("by", 1000)), ["body", "by"])
        self.engine.store.skip_ids(by)
        self.engine.store.commit()
        return as_json({"by": by})
