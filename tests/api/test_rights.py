"""Who may do what: every route of the API by every kind of caller. A route without a rule here fails."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select, update

from cigri.core import tokens
from cigri.core.events import Scope
from cigri.core.states import EventState, JobState
from cigri.db import api_tokens
from cigri.db.engine import transaction
from cigri.db.tables import ApiToken, Event, Job, Task


class May(enum.Enum):
    """Who may."""

    ANYBODY = "anybody, nobody too"
    NAMED = "whoever has a name"
    IN_PERSON = "whoever has a name and did not show a personal token"
    LOOK = "anybody; on a private grid owner and administrators"
    OWNER = "owner and administrators"
    ADMINISTRATOR = "administrators"


RULES = {
    "GET /": May.ANYBODY,
    "GET /gridusage": May.ANYBODY,
    "GET /clusters": May.ANYBODY,
    "GET /clusters/{cluster}": May.ANYBODY,
    "DELETE /clusters/{cluster}/{path}": May.NAMED,
    "GET /campaigns": May.ANYBODY,  # a private grid lists one's own
    "POST /campaigns": May.NAMED,
    "GET /campaigns/{campaign}": May.LOOK,
    "PUT /campaigns/{campaign}": May.OWNER,
    "DELETE /campaigns/{campaign}": May.OWNER,
    "GET /campaigns/{campaign}/jdl": May.LOOK,
    "GET /campaigns/{campaign}/stats": May.LOOK,
    "GET /campaigns/{campaign}/files": May.OWNER,
    "GET /campaigns/{campaign}/jobs": May.LOOK,
    "POST /campaigns/{campaign}/jobs": May.OWNER,
    "GET /campaigns/{campaign}/jobs/finished": May.LOOK,
    "GET /campaigns/{campaign}/jobs/{task}": May.LOOK,
    "GET /campaigns/{campaign}/events": May.LOOK,
    "DELETE /campaigns/{campaign}/events": May.OWNER,
    "GET /events": May.ANYBODY,
    "POST /events": May.ADMINISTRATOR,
    "GET /events/{event}": May.LOOK,
    "DELETE /events/{event}": May.OWNER,
    "GET /jobs/{job}": May.LOOK,
    "DELETE /jobs/{job}": May.OWNER,
    "GET /jobs/{job}/stdout": May.OWNER,
    "GET /jobs/{job}/stderr": May.OWNER,
    "GET /jobs/{job}/cinfos": May.OWNER,
    "GET /notifications": May.NAMED,
    "POST /notifications/{channel}": May.NAMED,
    "DELETE /notifications/{channel}": May.NAMED,
    "GET /tokens": May.NAMED,
    "POST /tokens": May.NAMED,
    "DELETE /tokens/{cluster}": May.NAMED,
    "GET /api_tokens": May.NAMED,
    "POST /api_tokens": May.IN_PERSON,
    "DELETE /api_tokens/{token}": May.NAMED,
}

BODIES: dict[str, object] = {
    "POST /campaigns": {"name": "x", "clusters": {"tiger": {"exec_file": "run"}}, "params": ["a"]},
    "PUT /campaigns/{campaign}": {"name": "y"},
    "POST /campaigns/{campaign}/jobs": ["more"],
    "POST /events": {"code": "CLUSTER_MANUALLY_DISABLED", "cluster_id": 1},
    "POST /notifications/{channel}": {"identity": "somebody@example.org"},
    "POST /tokens": {"cluster_id": 1, "token": "none"},
}


@dataclass(frozen=True)
class Caller:
    """A way to come. `name` None: nobody knows who it is."""

    name: str | None
    how: dict[str, Any]
    by_token: bool = False
    bad: bool = False

    @property
    def administrator(self) -> bool:
        return self.name in ("root", "boss")


def token(engine: Engine, user: str) -> str:
    made = tokens.make_api_token()
    with transaction(engine) as session:
        api_tokens.create(session, user, tokens.digest(made), timedelta(days=1))
    return made


def by_token(text: str, **more: Any) -> dict[str, Any]:
    return {"user": None, "tcp": True, "Authorization": f"Bearer {text}", **more}


def callers(engine: Engine) -> dict[str, Caller]:
    """All kinds of callers of campaigns that belong to alice."""
    expired, revoked = token(engine, "alice"), token(engine, "alice")
    with transaction(engine) as session:
        dead = update(ApiToken).where(ApiToken.digest == tokens.digest(expired))
        session.execute(dead.values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
        number = session.scalar(select(ApiToken.id).where(ApiToken.digest == tokens.digest(revoked)))
        assert number is not None and api_tokens.revoke(session, "alice", number)
    return {
        "anonymous": Caller(None, {"user": None, "tcp": True}),
        "a front with nobody": Caller(None, {"user": "null", "tcp": True}),
        "a front with a user": Caller("bob", {"user": "bob", "tcp": True}),
        "a front with the owner": Caller("alice", {"user": "alice", "tcp": True}),
        "a front with an administrator": Caller("boss", {"user": "boss", "tcp": True}),
        "root for the owner": Caller("alice", {"user": "alice"}),
        "a user's token": Caller("bob", by_token(token(engine, "bob")), by_token=True),
        "the owner's token": Caller("alice", by_token(token(engine, "alice")), by_token=True),
        "the owner's token on the socket": Caller("alice", by_token(token(engine, "alice"), tcp=False), by_token=True),
        "an administrator's token": Caller("boss", by_token(token(engine, "boss")), by_token=True),
        "an expired token": Caller(None, by_token(expired), bad=True),
        "a revoked token": Caller(None, by_token(revoked), bad=True),
        "a made up token": Caller(None, by_token("cigri_" + "A" * 43), bad=True),
        "a broken token": Caller(None, by_token("cigri_x"), bad=True),
    }


def expected(may: May, caller: Caller, *, private: bool) -> set[int]:
    """The status of a refusal, or 200 for anything else; where there are two, neither tells more than the other."""
    if caller.bad:
        return {401}
    named = caller.name is not None
    mine = caller.administrator or caller.name == "alice"
    if may is May.ANYBODY:
        return {200}
    if may in (May.NAMED, May.IN_PERSON):
        return {200} if named and not (may is May.IN_PERSON and caller.by_token) else {403}
    if may is May.ADMINISTRATOR:
        return {200} if caller.administrator else {403}
    if mine or (may is May.LOOK and not private):
        return {200}
    if not private:
        return {403}
    return {404} if named or may is May.LOOK else {403, 404}


class Things:
    """What the paths name: a campaign of alice with a task, a job that has ended, an open event."""

    def __init__(self, api: Any, engine: Engine) -> None:
        self.campaign = api.submit("one")
        with transaction(engine) as session:
            self.task = session.scalars(select(Task.id).where(Task.campaign_id == self.campaign)).one()
            job = {"task_id": self.task, "campaign_id": self.campaign, "cluster_id": 1, "state": JobState.EVENT}
            self.job = session.scalars(insert(Job).values(**job, ended_at=func.now()).returning(Job.id)).one()
            event = {
                "class_": Scope.JOB,
                "code": "EXIT_ERROR",
                "state": EventState.OPEN,
                "message": "why\nprivate",
            }
            kept = insert(Event).values(**event, campaign_id=self.campaign, job_id=self.job)
            self.event = session.scalars(kept.returning(Event.id)).one()

    def path(self, path: str) -> str:
        names = {"cluster": 1, "channel": "mail", "token": 999999, "path": "tmp/nothing"}
        return path.format(**names, campaign=self.campaign, task=self.task, job=self.job, event=self.event)


def refusal(answer: Any) -> int:
    """401, 403, or 404 for what is not there for the caller; 200 for all else."""
    if answer.status in (401, 403):
        return int(answer.status)
    hidden = answer.status == 404 and answer.json()["message"].startswith("There is no")
    return 404 if hidden else 200


def test_every_route_has_a_rule(api):
    described = {
        f"{method.upper()} {path}"
        for path, methods in api.get("/openapi.json")["paths"].items()
        for method in methods
        if method != "head"
    }
    assert described - RULES.keys() == set()


@pytest.mark.parametrize("private", [False, True])
def test_every_caller_on_every_route(start, engine, private):
    """R23."""
    api = start(api_private=private)
    kinds = callers(engine)
    reading = Things(api, engine)
    wrong = []
    for path, methods in api.get("/openapi.json")["paths"].items():
        for method in (word.upper() for word in methods):
            route = f"{method} {path}"
            for kind, caller in kinds.items():
                wanted = expected(RULES[route], caller, private=private)
                things = Things(api, engine) if method != "GET" and wanted == {200} else reading
                answer = api.ask(method, things.path(path), BODIES.get(route), **caller.how)
                if refusal(answer) not in wanted or answer.status == 500:
                    wrong.append(f"{route} by {kind}: {answer.status} {answer.text[:90]!r}, not {wanted}")
    assert wrong == []


def test_other_addresses_name_nobody(start, engine):
    api = start(api_trusted_addresses=())
    assert api.ask("GET", "/tokens", user="alice", tcp=True).status == 403
    assert api.ask("GET", "/tokens", **by_token(token(engine, "alice"))).status == 200


def test_a_token_names_nobody_but_its_owner(api, engine):
    mine = by_token(token(engine, "alice"))
    assert api.ask("GET", "/tokens", **mine | {"user": "alice"}).status == 200
    answer = api.ask("GET", "/tokens", **mine | {"user": "bob"})
    assert answer.status == 403 and "alice" in answer.json()["message"]
    answer = api.ask("GET", "/campaigns", **by_token("cigri_" + "B" * 43))
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "gridtoken --api" in answer.json()["message"]


def test_only_owner_and_administrators_read_what_a_job_wrote_in_events(api, engine):
    things = Things(api, engine)
    for user, message in (("alice", "why\nprivate"), ("boss", "why\nprivate"), ("bob", "why"), ("null", "why")):
        assert api.get(f"/events/{things.event}", user=user)["message"] == message
        (event,) = api.get(f"/campaigns/{things.campaign}/events", user=user)["items"]
        assert event["message"] == message
