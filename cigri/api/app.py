"""The application: routes, and what is true of all of them."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import Engine
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cigri import __version__
from cigri.admission import Rules
from cigri.api import admission, description, errors
from cigri.api.routes import campaigns, clusters, events, grid, jobs, notifications, tasks, tokens
from cigri.config import Settings

log = logging.getLogger("cigri.api.access")

ROUTERS: tuple[APIRouter, ...] = (
    grid.router,
    clusters.router,
    campaigns.router,
    tasks.router,
    events.router,
    jobs.router,
    notifications.router,
    tokens.router,
)
THREADS = 12  # requests that are worked on at a time: each has a connection to the database
CLUSTER_READERS = 4


class Application(FastAPI):
    """FastAPI with a description of our own."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = description.describe(self)
        return self.openapi_schema


def create_app(settings: Settings, engine: Engine) -> ASGIApp:
    """The API on this database."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        app.state.cluster_readers = CapacityLimiter(CLUSTER_READERS)
        yield

    app = Application(
        title="CiGri", version=__version__, lifespan=lifespan, redirect_slashes=False, docs_url=None, redoc_url=None
    )
    app.state.settings, app.state.engine = settings, engine
    app.state.rules = Rules(settings.admission_rules_directory)
    admission.look(app.state.rules)
    for router in ROUTERS:
        app.include_router(router)
    errors.register(app)
    return Front(app)


def allowed(path: str) -> str:
    """The methods of the resource at this path, as the header Allow has them; empty for none."""
    methods: set[str] = set()
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.path_regex.match(path):
                methods.update(route.methods or ())
    return ",".join(sorted(methods))


class Front:
    """Trailing slashes, HEAD, the header Allow, and a line in the log for each request and each fault of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].rstrip("/") or "/"
        # The server drops the body of an answer to HEAD by its own copy of the scope.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        began, allow, status, whole = time.monotonic(), allowed(path), 0, False

        async def sending(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                if allow:
                    kept = [pair for pair in message.get("headers", []) if pair[0].lower() != b"allow"]
                    message["headers"] = [*kept, (b"allow", allow.encode())]
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self.app({**scope, "path": path, "method": method}, receive, sending)
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            if not whole:  # what was begun cannot be mended: the connection is cut
                raise
        finally:
            seconds = time.monotonic() - began
            log.info("%s %s -> %d in %.0f ms", scope["method"], scope["path"], status, seconds * 1000)
