"""A real API server on a database, and how long it takes to answer what the commands ask."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from figures import TOP, say

from cigri.client import Client
from cigri.config import ClientSettings


def configuration(folder: Path, conninfo: str, **keys: object) -> dict[str, str]:
    """The environment of the grid's programs on this database; the API's socket is in the folder."""
    where = psycopg.conninfo.conninfo_to_dict(conninfo)
    values = {
        "DATABASE_HOST": where["host"],
        "DATABASE_PORT": where["port"],
        "DATABASE_NAME": where["dbname"],
        "DATABASE_USER_NAME": where["user"],
        "DATABASE_SSL_MODE": "disable",
        "API_SOCKET": folder / "api",
        "LOG_LEVEL": "WARN",
        "ADMISSION_RULES_DIRECTORY": "none",
        **keys,
    }
    (folder / "cigri.conf").write_text("".join(f'{name} = "{value}"\n' for name, value in values.items()))
    return {**os.environ, "CIGRICONFFILE": str(folder / "cigri.conf")}


@contextmanager
def serving(folder: Path, environ: Mapping[str, str]) -> Iterator[int]:
    """The pid of an API server that runs for the block."""
    with subprocess.Popen([sys.executable, "-m", "cigri.api.server"], env=environ, cwd=TOP) as server:
        try:
            while not (folder / "api").exists() and server.poll() is None:
                time.sleep(0.05)
            yield server.pid
        finally:  # else the end of the block would wait for it
            server.terminate()
            server.wait(20)


@contextmanager
def served(folder: Path, environ: Mapping[str, str]) -> Iterator[Client]:
    """A client of a server that runs for the block."""
    with serving(folder, environ):
        yield Client(ClientSettings(api_socket=str(folder / "api")))


def percentiles(ask: Callable[[], object], times: int) -> tuple[float, float]:
    """Milliseconds within which half of the answers, and 95 % of them, were there."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append(1000 * (time.perf_counter() - began))
    took.sort()
    return took[len(took) // 2], took[min(len(took) - 1, int(0.95 * len(took)))]


def asked(client: Client, campaign: int, tasks: int, seed: int = 1) -> dict[str, Callable[[], object]]:
    """What gridstat, gridevents and their like ask of this campaign; of tasks and jobs another one each time."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    path = f"/campaigns/{campaign}"
    last = client.get(f"{path}/jobs", offset=tasks - 1, limit=1)["items"][0]["id"]

    def any_task() -> int:
        return int(last) - chance.randrange(tasks)

    def page(limit: int) -> object:
        return client.get(f"{path}/jobs", offset=chance.randrange(tasks - limit), limit=limit)

    def task_and_job() -> object:
        found = client.get(f"{path}/jobs/{any_task()}")
        tries = found["execution"]
        return client.get(f"/jobs/{tries[-1]['id']}") if tries else found

    first = client.get(f"{path}/jobs/finished", limit=1)["items"][0]["id"]

    return {
        "the campaign": lambda: client.get(path),
        "its statistics": lambda: client.get(f"{path}/stats"),
        "a page of 100 of its tasks, anywhere": lambda: page(100),
        "one of its tasks, then its job": task_and_job,
        "its open events": lambda: client.get(f"{path}/events", limit=100),
        "all its events, the first 100": lambda: client.get(f"{path}/events", all=1, limit=100),
        "100 ended jobs, anywhere": lambda: client.get(
            f"{path}/jobs/finished", limit=100, after=int(first) + chance.randrange(tasks)
        ),
        "files of 100 jobs": lambda: client.get(f"{path}/files", limit=100, after=int(first) + chance.randrange(tasks)),
    }


def measured(what: Mapping[str, Callable[[], object]], times: int = 200) -> dict[str, tuple[float, float]]:
    """The percentiles of each, told as they come."""
    found = {}
    for name, ask in what.items():
        ask()  # connections, plans and caches are there in real life, too
        found[name] = percentiles(ask, times)
        say(f"  {name}: p50 {found[name][0]:.1f} ms, p95 {found[name][1]:.1f} ms")
    return found
