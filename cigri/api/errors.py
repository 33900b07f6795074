"""What goes wrong, as the API tells it: {"status", "title", "message"}, the message a sentence that helps."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cigri.admission import Broken, Refuse
from cigri.api.replies import reply
from cigri.db import passing
from cigri.db.campaigns import KeyReused, NoSuchCampaign, NotClean, WrongState
from cigri.errors import InvalidJDL

log = logging.getLogger(__name__)

SHOWN = 40  # faults of a campaign that a message tells


class ApiError(Exception):
    """An answer that is not what the caller hoped for. `more` is put into the answer beside the message."""

    def __init__(self, status: int, message: str, *, title: str = "", **more: Any) -> None:
        self.status = status
        self.title = title or _title(status)
        self.message = message
        self.more = more
        super().__init__(message)


def not_found(what: str) -> ApiError:
    """The thing is not there."""
    return ApiError(404, what)


def forbidden(why: str) -> ApiError:
    """The caller may not do that."""
    return ApiError(403, why)


def refused(why: str) -> ApiError:
    """What was asked makes no sense, or not now."""
    return ApiError(400, why, title="Error")


def told(faults: InvalidJDL) -> str:
    """The faults of a campaign, one a line, not more than a screen."""
    lines = [str(fault) for fault in faults.faults]
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"... and {len(lines) - SHOWN} more"]
    return "\n".join(lines)


def answer(
    request: Request, status: int, title: str, message: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """An error as a response."""
    content = {"status": status, "title": title, "message": message, **more}
    return reply(request, content, status, headers)


SENTENCES = (
    (NoSuchCampaign, 404, "Not found"),
    (WrongState, 400, "Error"),
    (NotClean, 409, "Conflict"),
    (KeyReused, 422, "Unprocessable Content"),
    (Refuse, 400, "Admission rule error"),
)  # errors whose own words are the message


def register(app: FastAPI) -> None:
    """Make the application answer every error in this form."""

    @app.exception_handler(ApiError)
    async def _ours(request: Request, error: ApiError) -> Response:
        return answer(request, error.status, error.title, error.message, **error.more)

    for ours, status, title in SENTENCES:
        app.add_exception_handler(ours, _sentence(status, title))

    @app.exception_handler(Broken)
    async def _broken(request: Request, error: Broken) -> Response:
        log.error("admission rules are broken, a campaign was refused: %s", error)
        return answer(request, 400, "Admission rule error", error.told())

    @app.exception_handler(HTTPException)
    async def _framework(request: Request, error: HTTPException) -> Response:
        return answer(request, error.status_code, _title(error.status_code), sentence(request, error), error.headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        return answer(request, 422, "Unprocessable Content", "\n".join(faults))

    @app.exception_handler(ClientDisconnect)
    async def _gone(request: Request, error: ClientDisconnect) -> Response:
        log.info("%s %s: the caller hung up before the end of the request", request.method, request.url.path)
        return answer(request, 400, "Bad Request", "the request ended too early: nothing was done")

    for kind in (PoolTimeout, DBAPIError):
        app.add_exception_handler(kind, database)

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> Response:
        return answer(request, 500, "Internal Server Error", "A fault of the API server: its log has the details")


def _sentence(status: int, title: str) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def say(request: Request, error: Exception) -> Response:
        return answer(request, status, title, str(error))

    return say


async def database(request: Request, error: Exception) -> Response:
    """503 where the database is away; what is left of its errors are faults of ours."""
    why = passing.away(error)
    if not why:
        log.error("%s %s: %s", request.method, request.url.path, error, exc_info=error)
        return answer(request, 500, "Internal Server Error", "A fault of the API server: its log has the details")
    log.error("%s %s: the database cannot be used: %s", request.method, request.url.path, error)
    message = f"The grid's database {why}. Nothing was done: try again in a minute"
    return answer(request, 503, "Service Unavailable", message, {"Retry-After": "30"})


def _title(status: int) -> str:
    return "Not found" if status == 404 else HTTPStatus(status).phrase  # the original's spelling


def sentence(request: Request, error: HTTPException) -> str:
    """What helps more than the framework's words."""
    where = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        return f"{where} is nothing that this API knows: GET / lists where to begin"
    if error.status_code == 405:
        return f"{where} is not possible: the header Allow lists the methods that are"
    return str(error.detail)
