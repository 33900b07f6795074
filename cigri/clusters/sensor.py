"""Reading a load sensor: a site's command, or a URL. Whatever it does, it is over in time."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException

import requests
import urllib3

from cigri.clusters.deadline import BoundedAdapter, Exchange
from cigri.clusters.http import reason
from cigri.core import sensor
from cigri.core.sensor import Command, NoLoad
from cigri.errors import CigriError

MOST = 65536  # bytes of an answer
TOO_LATE = "timed out"
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
Started = Callable[[subprocess.Popen[bytes] | None], None]


class SensorFailed(CigriError):
    """The sensor gave no load; the message says why."""


def read(text: str, seconds: float, verify: bool | str = True, started: Started = lambda _: None) -> float:
    """The load that the sensor tells within so many seconds. Raises SensorFailed.

    A command is run without a shell, in a process group of its own that is killed when its time is over. `started`
    is told its process, and None when that has ended.
    """
    try:
        asked = sensor.parse(text)
        said = _run(asked, seconds, started) if isinstance(asked, Command) else _ask(asked.address, seconds, verify)
        return sensor.load(said.decode(errors="replace"))
    except NoLoad as fault:
        raise SensorFailed(str(fault)) from None
    except (OSError, ValueError, HTTPException, urllib3.exceptions.HTTPError) as fault:
        raise SensorFailed(reason(fault)) from fault


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a command that has not ended, and what it has started in its group."""
    if process.returncode is None:  # else its number may be somebody else's by now
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _run(command: Command, seconds: float, started: Started) -> bytes:
    ends = time.monotonic() + seconds
    with subprocess.Popen(
        command.arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,
    ) as process:
        started(process)
        try:
            said, complained = _output(process, ends)
            status = process.wait(max(0.0, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError(TOO_LATE) from None
        finally:
            kill(process)
            started(None)
    if status:
        told = complained.decode(errors="replace").strip().splitlines()
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        raise SensorFailed(f"{how}{': ' + told[-1][:200] if told else ''}")
    return said


def _output(process: subprocess.Popen[bytes], ends: float) -> tuple[bytes, bytes]:
    """Its standard output and error, each cut where it is too long."""
    found: dict[int, bytearray] = {}
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            found[stream.fileno()] = bytearray()
            selector.register(stream.fileno(), selectors.EVENT_READ)
        while selector.get_map():
            left = ends - time.monotonic()
            if left <= 0:
                raise TimeoutError(TOO_LATE)
            for key, _ in selector.select(left):
                piece = os.read(key.fd, MOST)
                if not piece:
                    selector.unregister(key.fd)
                found[key.fd] += piece[: max(0, MOST - len(found[key.fd]))]
    said, complained = found.values()
    return bytes(said), bytes(complained)


def _ask(address: str, seconds: float, verify: bool | str) -> bytes:
    with requests.Session() as session:
        session.trust_env = False  # no proxy, and no password from a .netrc
        for scheme in ("http://", "https://"):
            session.mount(scheme, BoundedAdapter(Exchange(seconds)))
        with session.get(
            address, timeout=seconds, verify=verify, allow_redirects=False, stream=True, headers={"Accept": "*/*"}
        ) as response:
            if response.status_code != requests.codes.ok:
                raise SensorFailed(f"{response.status_code} {response.reason}")
            said = bytearray()
            for piece in response.iter_content(MOST):
                said += piece
                if len(said) >= MOST:
                    break
            return bytes(said[:MOST])
