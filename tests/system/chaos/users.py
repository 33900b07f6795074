"""The users of the grid under attack: they submit, cancel, pause, add, and try again when nobody answers."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError

from cigri.client import UnixConnection
from cigri.db import repair
from cigri.db.engine import transaction
from world import World

PATIENCE = 180.0
# Each task leaves a mark when it starts and when it succeeds; what is killed leaves no second one.
TASK = """\
cluster=$1; marks=$2; name=$3; seconds=$4; code=$5
echo "S $name $CIGRI_JOB_ID $cluster $OAR_JOB_ID" >>"$marks"
sleep "$seconds"
[ "$code" = 0 ] || exit "$code"
echo "E $name $CIGRI_JOB_ID $cluster $OAR_JOB_ID" >>"$marks"
"""


@dataclass
class Campaign:
    """A campaign that was submitted."""

    id: int
    user: str
    cancelled: bool = field(default=False)


class Silence(Exception):
    """The API did not answer, or said that it cannot now."""


class Users:
    """They talk to the API server over its socket, each under a name of their own."""

    def __init__(self, world: World, chance: Random) -> None:
        self.world = world
        self.chance = chance
        self.campaigns: list[Campaign] = []
        self.marks = world.home / "marks"
        script = world.home / "task"
        script.write_text(TASK)
        self.script = script
        self._numbers = iter(range(1, 1 << 30))

    def submit(self, user: str, tasks: int, clusters: Sequence[str], longest: float = 0.5, **settings: Any) -> Campaign:
        """A new campaign of tasks of which a few fail by themselves."""
        places = {name: {"exec_file": f"sh {self.script} {name} {self.marks}", **settings} for name in clusters}
        jdl = {
            "name": "chaos",
            "exec_directory": str(self.world.home),
            "walltime": "0:10:00",
            "max_failures": 100000,
            "clusters": places,
            "params": self.lines(tasks, longest),
        }
        found = Campaign(int(self.ask(user, "POST", "/campaigns", jdl)["id"]), user)
        self.campaigns.append(found)
        return found

    def lines(self, tasks: int, longest: float) -> list[str]:
        """Parameters: a name of its own, how long, and with which exit code."""
        codes = self.chance.choices((0, 3), (30, 1), k=tasks)
        return [f"t{next(self._numbers)} {self.chance.uniform(0.05, longest):.2f} {code}" for code in codes]

    def add(self, campaign: Campaign, lines: Sequence[str]) -> None:
        """More tasks, unless the campaign takes none any more."""
        self.ask(campaign.user, "POST", f"/campaigns/{campaign.id}/jobs", lines)

    def cancel(self, campaign: Campaign) -> None:
        campaign.cancelled = True
        self.ask(campaign.user, "DELETE", f"/campaigns/{campaign.id}")

    def change(self, campaign: Campaign, word: str) -> None:
        """Pause (hold) or resume."""
        self.ask(campaign.user, "DELETE", f"/campaigns/{campaign.id}?{word}=true")

    def kill_job(self, campaign: Campaign, job: int) -> None:
        self.ask(campaign.user, "DELETE", f"/jobs/{job}")

    def ask(self, user: str, method: str, path: str, content: object = None) -> Any:
        """Ask until there is an answer: the same question, with the same key. A refusal is an answer."""
        body = None if content is None else json.dumps(content)
        headers = {"X-Cigri-User": user, "Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex}
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return once(self.world.grid.layout.api_socket, method, path, body, headers)
            except (OSError, ValueError, Silence) as error:
                if time.monotonic() > end:
                    raise TimeoutError(f"the API does not answer {method} {path}: {error!r}") from error
                time.sleep(0.3)

    def close_events(self) -> int:
        """What the users do about the events that hold their campaigns up: they close them; how many."""
        ids = [campaign.id for campaign in self.campaigns]
        query = """SELECT id FROM events WHERE campaign_id = ANY(%s) AND state = 'open'
                   AND (code LIKE 'RUNNER_SUBMIT%%' OR code LIKE '%%OG_EXIT_ERROR')"""
        with contextlib.suppress(psycopg.Error, DBAPIError):  # the database is away: another time
            events = [row[0] for row in self.world.rows(query, ids)]
            with transaction(self.world.engine) as session:
                return len(repair.fix(session, events, resubmit=False, healed=True).events) if events else 0
        return 0


def once(socket: Path, method: str, path: str, body: str | None, headers: dict[str, str]) -> Any:
    """One request. Raises OSError or Silence where it is to be asked again."""
    connection = UnixConnection(str(socket), 5.0)
    try:
        connection.request(method, path, body=body, headers=headers)
        reply = connection.getresponse()
        text = reply.read()
    except Exception as error:
        if isinstance(error, OSError):
            raise
        raise Silence(repr(error)) from error
    finally:
        connection.close()
    if reply.status >= 500:
        raise Silence(f"{reply.status} {text[:200]!r}")
    return json.loads(text)
