"""The OpenAPI description: for each route what may be sent and every answer that may come back.

It is a table beside the routes, so that they stay short; a test holds the two together, and another asks the server
whether the description is true.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cigri.api.schemas import SCHEMAS, Schema, ref

FLAG: Schema = {"type": "boolean"}
IDENTIFIER: Schema = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
LARGE_IDENTIFIER: Schema = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
PATH_PARAMETERS: dict[str, Schema] = {
    "campaign": IDENTIFIER,
    "cluster": IDENTIFIER,
    "token": IDENTIFIER,
    "task": LARGE_IDENTIFIER,
    "job": LARGE_IDENTIFIER,
    "event": LARGE_IDENTIFIER,
    "channel": {"type": "string", "enum": ["mail", "jabber", "webhook"]},
    "path": {
        "type": "string",
        "minLength": 1,
        "description": "absolute, without its first slash",
    },
}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 10**9}
DATE: Schema = {"type": "number", "minimum": 0, "maximum": 10**10}
QUERY: dict[str, tuple[Schema, str]] = {
    "limit": (
        COUNT,
        "the most to give: 100, or 100000 in lists that are whole otherwise; never more",
    ),
    "offset": (COUNT | {"default": 0}, "how many to leave out before"),
    "after": (LARGE_IDENTIFIER | {"minimum": 0}, "only what has greater ids"),
    "all": (FLAG, "closed ones too, and none that is not the campaign's own"),
    "resubmit": (FLAG, "the tasks that were set aside are tried again"),
    "hold": (FLAG, "pause it: no new jobs"),
    "resume": (FLAG, "let it go on"),
    "purge": (FLAG, "drop the tasks and jobs of an ended campaign; its numbers stay"),
    "dry_run": (FLAG, "only say what would be done"),
    "tail": (COUNT, "only so many of the last lines"),
    "from": (DATE, "unix seconds"),
    "to": (DATE, "unix seconds"),
    "name": ({"type": "string"}, "the new name"),
    "state": ({"type": "string", "enum": ["paused", "in_treatment"]}, "the new state"),
    "identity": ({"type": "string"}, "the address of the subscription"),
    "severity": ({"type": "string", "enum": ["low", "medium", "high"]}, "told of events from this severity on"),
    "pretty": (FLAG, "indent the reply"),
}
EVERYWHERE = (401, 403, 500, 503)
WITH_BODY = (400, 408, 413)
WHY = {
    400: "it makes no sense, or not now",
    401: "the personal token is not valid",
    403: "the caller may not do that",
    404: "it is not there",
    408: "the body stopped coming",
    409: "the state of the thing does not allow it",
    413: "the body is too large",
    422: "the Idempotency-Key was used for another request",
    500: "a fault of the API server",
    503: "the database, or the cluster that was asked, is away or busy: nothing was done",
}
LINES = {
    "type": "string",
    "example": '{"name": "pi", "clusters": {"tiger": {"exec_file": "$HOME/run"}}}\n"first 10"\n"second 20"\n',
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One route: its answers when it is done, the refusals that it has of its own, what may be sent."""

    tag: str
    answers: dict[int, str]
    refusals: tuple[int, ...] = ()
    query: tuple[str, ...] = ()
    body: str = ""
    needs_body: bool = True
    lines: bool = False  # the body may come as application/x-ndjson
    form: bool = False  # ... as a form
    located: bool = field(default=False)  # the answer says where the new thing is


def _read(tag: str, answer: str, *refusals: int, query: tuple[str, ...] = ()) -> Operation:
    return Operation(tag, {200: answer}, refusals, query)


def _end(tag: str, *refusals: int, query: tuple[str, ...] = ()) -> Operation:
    return Operation(tag, {202: "Done"}, refusals, query)


def _make(tag: str, answer: str, body: str, *refusals: int, **more: Any) -> Operation:
    return Operation(tag, {201: answer}, refusals, body=body, located=True, **more)


PAGE = ("limit", "offset")
OPERATIONS: dict[str, Operation] = {
    "GET /": _read("grid", "Root"),
    "GET /gridusage": _read("grid", "Usages", 400, query=("from", "to")),
    "GET /clusters": _read("clusters", "Clusters"),
    "GET /clusters/{cluster}": _read("clusters", "Cluster", 404),
    "DELETE /clusters/{cluster}/{path}": _end("clusters", 400, 404),
    "GET /campaigns": _read("campaigns", "Campaigns", 400, query=PAGE),
    "POST /campaigns": Operation(
        "campaigns", {201: "Campaign", 200: "DryRun"}, (422,), ("dry_run",), "Jdl", lines=True, located=True
    ),
    "GET /campaigns/{campaign}": _read("campaigns", "Campaign", 404),
    "PUT /campaigns/{campaign}": Operation(
        "campaigns", {202: "Campaign"}, (404,), ("name", "state"), "Changes", needs_body=False, form=True
    ),
    "DELETE /campaigns/{campaign}": _end("campaigns", 400, 404, 409, query=("hold", "resume", "purge")),
    "GET /campaigns/{campaign}/jdl": _read("campaigns", "ExpandedJdl", 404),
    "GET /campaigns/{campaign}/stats": _read("campaigns", "Statistics", 404),
    "GET /campaigns/{campaign}/files": _read("campaigns", "Files", 400, 404, query=("limit", "after")),
    "GET /campaigns/{campaign}/jobs": _read("tasks", "Tasks", 400, 404, query=PAGE),
    "POST /campaigns/{campaign}/jobs": _make("tasks", "Campaign", "Parameters", 404, 409, 422, lines=True),
    "GET /campaigns/{campaign}/jobs/finished": _read("tasks", "FinishedJobs", 400, 404, query=("limit", "after")),
    "GET /campaigns/{campaign}/jobs/{task}": _read("tasks", "TaskWithTries", 404),
    "GET /campaigns/{campaign}/events": _read("events", "Events", 400, 404, query=("all", "after", *PAGE)),
    "DELETE /campaigns/{campaign}/events": _end("events", 404, query=("resubmit",)),
    "GET /events": _read("events", "Events", 400, query=("after", *PAGE)),
    "POST /events": _make("events", "Created", "NewEvent"),
    "GET /events/{event}": _read("events", "Event", 404),
    "DELETE /events/{event}": _end("events", 400, 404, query=("resubmit",)),
    "GET /jobs/{job}": _read("jobs", "Job", 404),
    "DELETE /jobs/{job}": _end("jobs", 400, 404),
    "GET /jobs/{job}/stdout": _read("jobs", "Output", 400, 404, query=("tail",)),
    "GET /jobs/{job}/stderr": _read("jobs", "Output", 400, 404, query=("tail",)),
    "GET /jobs/{job}/cinfos": _read("jobs", "Record", 400, 404),
    "GET /notifications": _read("notifications", "Subscriptions"),
    "POST /notifications/{channel}": _make(
        "notifications", "Subscribed", "NewSubscription", 404, query=("identity", "severity"), needs_body=False
    ),
    "DELETE /notifications/{channel}": _end("notifications", 400, 404, query=("identity",)),
    "GET /tokens": _read("tokens", "Tokens"),
    "POST /tokens": _make("tokens", "Token", "NewToken", 404),
    "DELETE /tokens/{cluster}": _end("tokens", 404),
    "GET /api_tokens": _read("tokens", "PersonalTokens"),
    "POST /api_tokens": _make("tokens", "MadePersonalToken", "NewPersonalToken", needs_body=False),
    "DELETE /api_tokens/{token}": _end("tokens", 404),
}
TAGS = ("grid", "clusters", "campaigns", "tasks", "events", "jobs", "notifications", "tokens")
IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": 128, "pattern": "^[!-~]*$"},
    "description": "the same key and request are carried out once",
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The description of the application's routes."""
    found = get_openapi(
        title=app.title, version=app.version, description="The grid's REST API: docs/api.md", routes=app.routes
    )
    for path, methods in found["paths"].items():
        for method, described in methods.items():
            if operation := OPERATIONS.get(f"{method.upper()} {path}"):
                methods[method] = _words(described) | _operation(path, operation)
    found["components"] = {
        "schemas": SCHEMAS,
        "securitySchemes": {"personal_token": {"type": "http", "scheme": "bearer"}},
    }
    found["security"] = [{}, {"personal_token": []}]
    found["tags"] = [{"name": tag} for tag in TAGS]
    return found


def _words(described: dict[str, Any]) -> dict[str, Any]:
    """What the route's own function says."""
    return {key: described[key] for key in ("summary", "description", "operationId") if key in described}


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    described = {
        "tags": [operation.tag],
        "parameters": _parameters(path, operation),
        "responses": _responses(operation),
    }
    if operation.body:
        described["requestBody"] = _body(operation)
    return described


def _parameters(path: str, operation: Operation) -> list[dict[str, Any]]:
    names = [word[1:-1] for word in path.split("/") if word.startswith("{")]
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS[name]} for name in names
    ]
    for name in (*operation.query, "pretty"):
        schema, words = QUERY[name]
        found.append({"name": name, "in": "query", "required": False, "schema": schema, "description": words})
    if operation.lines:
        found.append(IDEMPOTENCY)
    return found


def _body(operation: Operation) -> dict[str, Any]:
    schema = ref(operation.body)
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if operation.lines:
        content["application/x-ndjson"] = {"schema": LINES}
    if operation.form:
        content["application/x-www-form-urlencoded"] = {"schema": schema}
    return {"required": operation.needs_body, "content": content}


def _responses(operation: Operation) -> dict[str, Any]:
    found = {str(status): _answer(status, name, operation) for status, name in operation.answers.items()}
    more = WITH_BODY if operation.body else ()
    for status in sorted({*EVERYWHERE, *more, *operation.refusals}):
        example = {"status": status, "title": HTTPStatus(status).phrase, "message": WHY[status]}
        content = {"application/json": {"schema": ref("Error"), "example": example}}
        found[str(status)] = {"description": WHY[status], "content": content}
    return found


def _answer(status: int, name: str, operation: Operation) -> dict[str, Any]:
    content = {"application/json": {"schema": ref(name), "example": SCHEMAS[name].get("example")}}
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase, "content": content}
    if operation.located and status == 201:
        described["headers"] = {"Location": {"schema": {"type": "string"}, "required": True}}
    return described
