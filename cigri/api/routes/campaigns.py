"""Campaigns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from urllib.parse import parse_qsl

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from cigri.api import admission, submissions
from cigri.api.again import Route
from cigri.api.bodies import ArrivedBody, Body
from cigri.api.context import Context, Here, identifier
from cigri.api.errors import not_found, refused
from cigri.api.replies import BLOCK, Json, stream
from cigri.core.states import UNFINISHED, CampaignState
from cigri.db import campaigns as changes
from cigri.db.views import campaigns, jobs, statistics, tasks
from cigri.db.views.campaigns import ClusterUse, Progress, Summary

router = APIRouter(route_class=Route)

UNKNOWN_TIME = 1e16  # seconds: the original's number for it, with which its clients can calculate


@router.get("/campaigns")
def listing(here: Here) -> Response:
    """The campaigns that have not ended."""
    mine = here.settings.api_private and not here.caller.administrator
    limit, offset = here.longest(), here.number("offset", 0)
    found: list[Summary] = []
    total = 0
    if not mine or here.caller.name is not None:
        with here.transaction() as session:
            user = here.caller.name if mine else None
            found, total = campaigns.unfinished(session, user, limit=limit, offset=offset)
    items = [shown(here, summary) for summary in found]
    return here.reply({"items": items, "total": total, "links": here.page_links("campaigns", "", limit, offset, total)})


@router.post("/campaigns")
def submit(here: Here, body: ArrivedBody) -> Response:
    """A new campaign from a JDL, or from a JDL line and one line per task. ?dry_run: only look at it."""
    wanted = submissions.read_campaign(here, body)
    user = here.caller.named()
    if here.given("dry_run"):
        with here.transaction() as session:
            return here.reply(admission.admit(here, session, wanted, user).report())
    key = submissions.idempotency_key(here, body)
    with here.transaction() as session:
        campaign_id = changes.answered(session, user, key) if key else None
        if campaign_id is None:
            wanted = admission.admit(here, session, wanted, user)
            campaign_id = wanted.store(session, user)
            if key:
                changes.remember(session, user, key, campaign_id)
        content = full(here, campaign_id, session)
    headers = {"Location": here.url(f"campaigns/{campaign_id}")}
    return here.reply(content | wanted.understood(), 201, headers)


@router.get("/campaigns/{campaign}")
def details(campaign: str, here: Here) -> Response:
    """One campaign."""
    key = identifier(campaign, "campaign")
    with here.transaction() as session:
        here.check_visible(key, campaigns.owner(session, key))
        return here.reply(full(here, key, session))


@router.put("/campaigns/{campaign}")
def change(campaign: str, here: Here, body: ArrivedBody) -> Response:
    """Another name, another state (paused or in_treatment)."""
    key = own(here, campaign)
    wanted = _wanted(here, body)
    state = wanted.get("state")
    if state not in (None, *UNFINISHED):
        raise refused(f"Error updating campaign {key}: state must be paused or in_treatment, not {state!r}")
    with here.transaction() as session:
        now = changes.lock(session, key).state
        if "name" in wanted:
            changes.rename(session, key, submissions.checked_name(wanted["name"]))
        if state == CampaignState.PAUSED != now:
            changes.pause(session, key)
        elif state == CampaignState.IN_TREATMENT != now:
            changes.resume(session, key)
        return here.reply(full(here, key, session), 202)


@router.delete("/campaigns/{campaign}")
def end(campaign: str, here: Here) -> Response:
    """Cancel a campaign; ?hold pauses it, ?resume resumes it; ?purge drops the tasks and jobs of one that has ended."""
    key = own(here, campaign)
    with here.transaction() as session:
        if here.given("purge"):
            word = "purged"
            changes.purge(session, key)
        elif here.given("hold"):
            word = "paused"
            changes.pause(session, key)
        elif here.given("resume"):
            word = "resumed"
            changes.resume(session, key)
        else:
            word = "cancelled"
            changes.cancel(session, key)
    return here.done(f"Campaign {key} {word}")


@router.get("/campaigns/{campaign}/jdl")
def jdl(campaign: str, here: Here) -> Response:
    """The expanded JDL; params has every task."""
    key = identifier(campaign, "campaign")
    with here.transaction() as session:
        here.check_visible(key, campaigns.owner(session, key))
        found = campaigns.jdl(session, key)
    return stream(here.request, dict(found or {}), "params", _lines(here, key))


@router.get("/campaigns/{campaign}/files")
def files(campaign: str, here: Here) -> Response:
    """The output files that ended jobs of a campaign left on its clusters: what gridclean deletes."""
    key = own(here, campaign)
    limit, after = here.longest(), here.number("after", 0)
    with here.transaction() as session:
        last, more = jobs.last_of_page(session, key, after=after, limit=limit)
    links = here.links_after(f"campaigns/{key}/files", f"campaigns/{key}", limit, last if more else None)
    return stream(here.request, {"links": links}, "items", _files(here, key, after, last))


@router.get("/campaigns/{campaign}/stats")
def stats(campaign: str, here: Here) -> Response:
    """How a campaign goes. remaining_time is 1e16 where it cannot be told."""
    key = identifier(campaign, "campaign")
    with here.transaction() as session:
        here.check_visible(key, campaigns.owner(session, key))
        found = statistics.statistics(session, key, here.settings.campaign_throughput_window)
    return here.reply(
        {
            "average_jobs_duration": round(found.average, 2),
            "stddev_jobs_duration": round(found.deviation, 2),
            "jobs_throughput": found.throughput,
            "remaining_time": UNKNOWN_TIME if found.remaining is None else found.remaining,
            "failures_rate": found.failures,
            "resubmit_rate": found.resubmissions,
        }
    )


def own(here: Context, campaign: str) -> int:
    """The id of a campaign that the caller may change."""
    here.caller.named()
    key = identifier(campaign, "campaign")
    with here.transaction() as session:
        owner = campaigns.owner(session, key)
    here.caller.must_own(key, here.check_visible(key, owner))
    return key


def full(here: Context, key: int, session: Session) -> Json:
    """A campaign with its clusters and tasks."""
    summary = campaigns.summary(session, key)
    if summary is None:
        raise not_found(f"There is no campaign {key}")
    clusters = {str(use.cluster_id): _use(use) for use in campaigns.clusters(session, key)}
    counts = campaigns.progress(session, [key])[key]
    return shown(here, summary) | {"clusters": clusters, "tasks": _counts(counts)}


def shown(here: Context, summary: Summary) -> Json:
    """A campaign in short."""
    link, path = here.url.link, f"campaigns/{summary.id}"
    return {
        "id": summary.id,
        "name": summary.name,
        "user": summary.user,
        "state": summary.state.value,
        "has_events": summary.has_events,
        "submission_time": int(summary.submission_time.timestamp()),
        "total_jobs": summary.total,
        "finished_jobs": summary.done,
        "links": [
            link("self", path),
            link("parent", "campaigns"),
            link("collection", f"{path}/jobs", "jobs"),
            link("collection", f"{path}/events", "events"),
            link("item", f"{path}/jdl", "jdl"),
        ],
    }


def _use(use: ClusterUse) -> Json:
    return {
        "cluster_name": use.cluster_name,
        "active_jobs": use.active,
        "queued_jobs": use.queued,
        "prologue_ok": use.prologue_ok,
        "epilogue_ok": use.epilogue_ok,
    }


def _counts(counts: Progress) -> Json:
    return {
        "pending": counts.pending,
        "active": counts.active,
        "done": counts.done,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
    }


def _lines(here: Context, key: int) -> Iterator[str]:
    """The parameters of all tasks, read block by block."""
    after, more = 0, True
    while more:
        with here.transaction() as session:
            block = tasks.lines(session, key, after=after, limit=BLOCK)
        for task_id, line in block:
            yield line
            after = task_id
        more = len(block) == BLOCK


def _files(here: Context, key: int, first: int, last: int) -> Iterator[Json]:
    after: int | None = first
    while after is not None:
        with here.transaction() as session:
            found, after = jobs.files(session, key, after=after, last=last, limit=BLOCK)
        yield from map(asdict, found)


def _wanted(here: Context, body: Body) -> dict[str, str]:
    """name and state, from the query, a form or a JSON object."""
    text = body.text().strip()
    if text.startswith("{"):
        try:
            found = {key: str(value) for key, value in json.loads(text).items()}
        except (ValueError, RecursionError) as error:
            raise refused(f"The body is not JSON: {error}") from None
    else:
        found = dict(parse_qsl(text))
    found |= here.request.query_params
    return {key: value for key, value in found.items() if key in ("name", "state")}
