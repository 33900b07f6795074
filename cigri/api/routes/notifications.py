"""Subscriptions: where their owners are told, and from which severity on. root's are the administrator's."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Response

from cigri.api.again import Route
from cigri.api.bodies import ArrivedBody, Body
from cigri.api.context import Context, Here
from cigri.api.errors import not_found, refused
from cigri.core.events import Severity
from cigri.core.telling import Channel
from cigri.db import subscriptions
from cigri.notify import identities
from cigri.notify.channels import missing

router = APIRouter(route_class=Route)


@router.get("/notifications")
def listing(here: Here) -> Response:
    """The caller's subscriptions. Of a webhook a name is shown, not the URL."""
    user = here.caller.named()
    with here.transaction() as session:
        found = subscriptions.of_user(session, user)
    items = [{"type": one.type.value, "identity": one.identity, "severity": one.severity.value} for one in found]
    links = [here.url.link("self", "notifications"), here.url.link("parent", "")]
    return here.reply({"items": items, "total": len(items), "links": links})


@router.post("/notifications/{channel}")
def subscribe(channel: str, here: Here, body: ArrivedBody) -> Response:
    """Subscribe an identity (a mail address, an XMPP identity, the URL of a webhook), or change its severity."""
    kind, user = _channel(channel), here.caller.named()
    asked = _asked(here, body)
    severity = _severity(asked.get("severity"))
    address = _identity(here, kind, asked.get("identity"))
    identity = identities.shown(kind, address)
    sealed = here.sealed(address, identities.purpose(user)) if kind is Channel.WEBHOOK else None
    with here.transaction() as session:
        try:
            new = subscriptions.subscribe(session, user, kind, identity, severity, sealed)
        except subscriptions.TooMany as error:
            raise refused(str(error)) from error
    message = f"{'Subscribed' if new else 'Changed'}: {_words(kind, severity)} to {identity}"
    if lacking := missing(here.settings, kind):
        message += f"; but {lacking}"
    content = {"status": 201, "title": "Created", "message": message}
    content |= {"type": kind.value, "identity": identity, "severity": severity.value}
    return here.reply(content, 201, {"Location": here.url("notifications")})


@router.delete("/notifications/{channel}")
def unsubscribe(channel: str, here: Here) -> Response:
    """End the subscription of ?identity=; what waits to be sent there is dropped."""
    kind, user = _channel(channel), here.caller.named()
    identity = here.request.query_params.get("identity", "").strip()
    if not identity:
        raise refused("?identity= is missing: which subscription is to end? GET /notifications lists yours")
    identity = identities.shown(kind, identity)
    with here.transaction() as session:
        if "\0" in identity or not subscriptions.unsubscribe(session, user, kind, identity):
            raise not_found(f"You have no subscription of {kind} to {identity}: gridnotify -l lists yours")
    return here.done(f"Unsubscribed: no more {kind} to {identity}")


def _channel(word: str) -> Channel:
    try:
        return Channel(word)
    except ValueError:
        raise not_found(f"There is no kind {word} of notifications: {', '.join(Channel)} are there") from None


def _asked(here: Context, body: Body) -> dict[str, Any]:
    """The JSON object in the body, or the query when there is no body."""
    if not body.size:
        return dict(here.request.query_params)
    try:
        found = json.loads(body.text())
    except (ValueError, RecursionError) as error:
        raise refused(f"The body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise refused('The body must be a JSON object: {"identity": "...", "severity": "low"}')
    return found


def _severity(word: object) -> Severity:
    try:
        return Severity.LOW if word is None else Severity(str(word).lower())
    except ValueError:
        raise refused(f"severity must be one of {', '.join(Severity)}, not {str(word)[:40]!r}") from None


def _identity(here: Context, channel: Channel, identity: object) -> str:
    if not isinstance(identity, str):
        raise refused('"identity" is missing: the address that is to be told')
    try:
        found = identities.checked(channel, identity)
    except ValueError as error:
        raise refused(f"identity: {error}") from None
    if channel is Channel.WEBHOOK:
        host = identities.host_of(found)
        if not identities.host_allowed(host, here.settings.notifications_webhook_hosts):
            raise refused(f"Webhooks to {host} are not allowed on this grid (NOTIFICATIONS_WEBHOOK_HOSTS)")
    return found


def _words(channel: Channel, severity: Severity) -> str:
    return f"{channel} of {severity} severity{'' if severity is Severity.HIGH else ' and above'}"
