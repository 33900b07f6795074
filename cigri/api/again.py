"""Endpoints whose transaction was undone for others' sake are carried out again, whole."""

from __future__ import annotations

import functools
import inspect
import logging
import random
import time
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError

from cigri.db import passing

log = logging.getLogger(__name__)

TRIES = 5


class Route(APIRoute):
    """A route that does so. Endpoints that ask clusters (async) are carried out once."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        super().__init__(path, endpoint if inspect.iscoroutinefunction(endpoint) else _again(endpoint), **more)


def _again(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(endpoint)
    def carry_out(*arguments: Any, **named: Any) -> Any:
        for tries in range(1, TRIES):
            try:
                return endpoint(*arguments, **named)
            except DBAPIError as error:
                if not passing.undone(error):
                    raise
                log.info("%s: undone for others' sake, try %d: %s", endpoint.__name__, tries, error.orig)
                time.sleep(random.uniform(0, 0.05 * 2**tries))
        return endpoint(*arguments, **named)

    return carry_out
