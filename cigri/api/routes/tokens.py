"""The caller's tokens: those that the clusters gave them, and those with which they reach this API over TCP.

No reply has a token in it but the one that makes a personal token, which is never shown again.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Response

from cigri.api.again import Route
from cigri.api.bodies import ArrivedBody, Body
from cigri.api.context import MOST, Here, identifier
from cigri.api.errors import forbidden, not_found, refused
from cigri.api.replies import Json
from cigri.api.routes.events import moment, readable
from cigri.core import tokens
from cigri.core.tokens import LISTER, LISTING_LOGIN, Claims
from cigri.db import api_tokens, clusters, mappings
from cigri.db.tables import ApiToken, Cluster, UserMapping

router = APIRouter(route_class=Route)

HIDDEN = "Bearer ********"
DAYS = 90
MOST_DAYS = 366
MOST_TOKENS = 100  # of one user


@router.get("/tokens")
def listing(here: Here) -> Response:
    """The clusters that the caller has a token for. The tokens are not shown, when they expire is."""
    user = here.caller.named()
    with here.transaction() as session:
        found = mappings.of_user(session, user)
    items = [shown(one.mapping, one.cluster_name) for one in found]
    links = [here.url.link("self", "tokens"), here.url.link("parent", "")]
    return here.reply({"items": items, "total": len(items), "links": links})


@router.post("/tokens")
def store(here: Here, body: ArrivedBody) -> Response:
    """Keep a token that a cluster gave the caller, instead of the one that was there: {"cluster_id", "token"}."""
    user = here.caller.named()
    asked = _object(body)
    key = identifier(str(asked.get("cluster_id", "")), "cluster")
    token, said = _token(asked.get("token"))
    sealed = here.sealed(token, mappings.purpose(user, key))
    with here.transaction() as session:
        cluster = clusters.by_id(session, key)
        if cluster is None or cluster.removed_at is not None:
            raise not_found(f"There is no cluster {key}: `gridclusters` lists them")
        _check(user, cluster, said)
        reopened = mappings.store(session, user, key, sealed, said)
        mapping = mappings.find(session, user, key)
        assert mapping is not None
        content = shown(mapping, cluster.name)
    until = "" if said.expires is None else f", valid until {readable(said.expires)}"
    more = f"; {reopened} campaigns go on there" if reopened else ""
    message = f"Token of {user} stored for cluster {cluster.name}{until}{more}"
    return here.reply(content | {"message": message}, 201, {"Location": here.url("tokens")})


@router.delete("/tokens/{cluster}")
def remove(cluster: str, here: Here) -> Response:
    """Forget the caller's token for a cluster."""
    user = here.caller.named()
    key = identifier(cluster, "cluster")
    with here.transaction() as session:
        if not mappings.remove(session, user, key):
            raise not_found(f"{user} has no token for a cluster {key}: `gridtoken -l` lists them")
    return here.done(f"Token of {user} for cluster {key} removed")


@router.get("/api_tokens")
def personal(here: Here) -> Response:
    """The caller's personal tokens for this API: their numbers and dates."""
    user = here.caller.named()
    with here.transaction() as session:
        found = api_tokens.of_user(session, user)
    links = [here.url.link("self", "api_tokens"), here.url.link("parent", "")]
    return here.reply({"items": [_personal(one) for one in found], "total": len(found), "links": links})


@router.post("/api_tokens")
def make(here: Here, body: ArrivedBody) -> Response:
    """A personal token for this API: {"days": how long it is valid}. It is shown in this answer and never again."""
    user = here.caller.named()
    if here.caller.by_token:
        raise forbidden("A personal token makes no others: log in to the grid's machine and type `gridtoken --api`")
    days = _object(body).get("days", DAYS)
    if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= MOST_DAYS:
        raise refused(f"days must be a whole number from 1 to {MOST_DAYS}")
    token = tokens.make_api_token()
    with here.transaction() as session:
        if api_tokens.count(session, user) >= MOST_TOKENS:
            raise refused(f"{user} has {MOST_TOKENS} personal tokens: revoke one with `gridtoken --api -r ID`")
        made = api_tokens.create(session, user, tokens.digest(token), timedelta(days=days))
        content = _personal(made)
    return here.reply(
        content | {"token": token}, 201, {"Location": here.url("api_tokens"), "Cache-Control": "no-store"}
    )


@router.delete("/api_tokens/{token}")
def revoke(token: str, here: Here) -> Response:
    """Revoke one of the caller's personal tokens, at once."""
    user = here.caller.named()
    key = identifier(token, "personal token", MOST)
    with here.transaction() as session:
        if not api_tokens.revoke(session, user, key):
            raise not_found(f"{user} has no personal token {key}: `gridtoken --api -l` lists them")
    return here.done(f"Personal token {key} revoked")


def shown(mapping: UserMapping, cluster_name: str) -> Json:
    """What may be told of a token."""
    return {
        "cluster_id": mapping.cluster_id,
        "cluster_name": cluster_name,
        "cluster_login": HIDDEN,
        "login": mapping.token_login or mapping.cluster_login or mapping.grid_login,
        "expires_at": moment(mapping.expires_at),
        "expired": mappings.expired(mapping, datetime.now(UTC)),
    }


def _personal(token: ApiToken) -> Json:
    return {
        "id": token.id,
        "created_at": moment(token.created_at),
        "expires_at": moment(token.expires_at),
        "last_used_at": moment(token.last_used_at),
    }


def _token(given: Any) -> tuple[str, Claims]:
    """A cluster's token with what it says. Refuses what is none; the token is in no message."""
    if not isinstance(given, str) or not given.strip():
        raise refused("token must be the token that the cluster gave you (`oarsub -T` there shows it)")
    token = given.strip().removeprefix("Bearer ").strip()
    try:
        said = tokens.claims(token)
    except ValueError as error:
        raise refused(f"This cannot be stored: {error}; `oarsub -T` on the cluster shows yours") from None
    if said.expires is not None and said.expires <= datetime.now(UTC):
        raise refused(f"This token expired on {readable(said.expires)}: get a new one on the cluster with `oarsub -T`")
    return token, said


def _check(user: str, cluster: Cluster, said: Claims) -> None:
    """Refuse a token for a cluster that has no use for it, and one of somebody whom the caller cannot be."""
    if not mappings.has_own_tokens(cluster):
        raise refused(f"Cluster {cluster.name} does not ask for its users' tokens: there is nothing to store for it")
    if user == LISTER and said.user not in (None, LISTING_LOGIN):
        raise refused(f"root's token is the one of the cluster's user {LISTING_LOGIN}, not of {said.user}")
    if user != LISTER and said.user in (LISTER, LISTING_LOGIN):
        raise refused(f"This is a token of the cluster's user {said.user}, not yours")


def _object(body: Body) -> Json:
    text = body.text().strip()
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise refused("The body must be a JSON object") from None  # what was sent may be a secret: not shown
    if not isinstance(found, dict):
        raise refused("The body must be a JSON object")
    return found
