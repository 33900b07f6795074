"""What is printed when nobody looks: byte for byte the original's formats, which scripts read."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]

LETTERS = {"cancelled": "C", "in_treatment": "R", "terminated": "T", "paused": "P"}
HEADING = (
    "Campaign id Name                User             Submission time     S  Progress\n"
    "----------- ------------------- ---------------- ------------------- -- --------"
)
RULE = "-" * 78
HOURS_KNOWN = 10_000  # above that remaining time is no more than a guess


def text(value: object) -> str:
    """A value of JSON as the original prints it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def percent(campaign: Json) -> int:
    """Finished tasks of all, rounded down; 0 of an empty campaign."""
    total = int(campaign["total_jobs"])
    return int(campaign["finished_jobs"]) * 100 // total if total else 0


def progress(campaign: Json) -> str:
    """`done/total (percent%)`."""
    return f"{campaign['finished_jobs']}/{campaign['total_jobs']} ({percent(campaign)}%)"


def date(campaign: Json) -> str:
    """When it was submitted, in local time."""
    return time.strftime("%Y-%m-%d %H-%M-%S", time.localtime(campaign["submission_time"]))


def moment(date: str) -> str:
    """A date of the API as people read it."""
    return date.replace("T", " ")


def letters(campaign: Json) -> str:
    """The letter of its state, then `e` if it has open events."""
    return LETTERS.get(campaign["state"], "?") + ("e" if campaign["has_events"] else " ")


def campaign_line(campaign: Json) -> str:
    """A campaign in gridstat's list."""
    name, user = campaign["name"][:19], campaign["user"][:16]
    return f"{campaign['id']:<11d} {name:<19} {user:<16} {date(campaign):<19} {letters(campaign)} {progress(campaign)}"


def campaign(campaign: Json, stats: Json) -> str:
    """A campaign with its statistics and clusters."""
    events = "(events)" if campaign["has_events"] else " "
    lines = [
        f"Campaign: {campaign['id']}",
        f"  Name: {campaign['name']}",
        f"  User: {campaign['user']}",
        f"  Date: {date(campaign)}",
        f"  State: {campaign['state']} {events}",
        f"  Progress: {progress(campaign)}",
        "  Stats: ",
        *(f"    {key}: {statistic(key, value)}" for key, value in stats.items()),
        "  Clusters: ",
    ]
    for use in campaign["clusters"].values():
        lines.append(f"    {use['cluster_name']}:")
        lines += [f"      {key}: {text(value)}" for key, value in use.items() if key != "cluster_name"]
    return "\n".join([*lines, ""])


def statistic(key: str, value: float | None) -> str:
    """A figure with its unit; ~ where it is not known."""
    if key == "remaining_time":
        hours = None if value is None else round(value / 3600, 1)
        return f"{'~' if hours is None or hours > HOURS_KNOWN else hours} hours"
    if key == "jobs_throughput":
        hourly = round((value or 0.0) * 3600, 1)
        return f"{'~' if hourly < 0.01 else hourly} jobs/h"
    if key in ("failures_rate", "resubmit_rate"):
        return f"{round((value or 0.0) * 100, 1)} %"
    return text(value)


def task_line(task: Json) -> str:
    """A task in gridstat -f."""
    job, remote, cluster = (task[key] or "*" for key in ("cigri_job_id", "remote_id", "cluster"))
    return f"  {task['id']}: {job},{remote},{task['state']},{cluster},{task['name']},{task['parameters']}"


def event_lines(events: Iterable[Json], *, verbose: bool = False) -> Iterator[str]:
    """Events between rules."""
    found = False
    for event in events:
        found = True
        yield from event_block(event, verbose=verbose)
    yield RULE if found else "No events!"


def event_block(event: Json, *, verbose: bool = False) -> Iterator[str]:
    """One event after a rule. What the original did not know follows the message, where there is something to tell."""
    job = f" of job {event['job_id']}" if event["job_id"] else ""
    cluster = f" on {event['cluster_name']}" if event["cluster_name"] else ""
    because = f" because of {event['parent']}" if event["parent"] else ""
    yield RULE
    yield f"{event['id']}: ({event['state']}) {event['code']}{job} at {event['date_open']}{cluster}{because}"
    if event["message"]:  # a blacklist has none
        yield event["message"]
    if event["count"] > 1:
        yield often(event)
    if event["waits_for"] and (verbose or event["code"] == "BLACKLIST"):
        yield f"Waiting: {event['waits_for']}"


def often(event: Json) -> str:
    """How many alike things the event stands for."""
    first, last = event["job_id"], event["last_job_id"]
    jobs = f", jobs {first} to {last}" if first and last and first != last else ""
    return f"{event['count']} times{jobs}, last at {event['date_last']}"


def subscriptions(items: Iterable[Json]) -> Iterator[str]:
    """What somebody hears of, in gridnotify -l."""
    yield "You have the following notification subscriptions:"
    for one in items:
        yield f" - {one['type']} on {one['identity']} with severity {one['severity']}"


def tokens(items: Iterable[Json]) -> Iterator[str]:
    """Tokens of clusters in gridtoken -l: masked, and with what the original did not know behind."""
    yield "You have the following tokens:"
    for one in items:
        token = one["cluster_login"].removeprefix("Bearer ")
        yield f" - Cluster #{one['cluster_id']} : {token} on {one['cluster_name']} of {one['login']}, {expiry(one)}"


def expiry(token: Json) -> str:
    """When a token of a cluster expires, and what to type when it has."""
    if token["expires_at"] is None:
        return "never expires"
    when = moment(token["expires_at"])
    if not token["expired"]:
        return f"expires {when}"
    return f"EXPIRED {when}: gridtoken -i {token['cluster_id']} -t TOKEN stores a new one"


def facts(thing: Json) -> Iterator[str]:
    """One `key: value` a line."""
    return (f"{key}: {text(value)}" for key, value in thing.items() if key != "links")


def cluster(summary: Json, details: Json | None, *, everything: bool) -> str:
    """A cluster in gridclusters."""
    line = f"{summary['id']}: {summary['name']}"
    if details is None:
        return line
    if everything:
        kept = {key: value for key, value in details.items() if value is not None}
        return "".join([line, *(f"\n    {fact}" for fact in facts(kept))])
    words = f"stress:{text(details['stress_factor'])}"
    words += ", BLACKLISTED" if details["blacklisted"] else ""
    words += ", UNDER_STRESS" if details["under_stress"] else ""
    words += "" if details["enabled"] else ", DISABLED"
    return f"{line} , {text(details['ssh_host'])} ({words})"


USAGE_COLOURS = (("unavailable", 41), ("used", 43), ("used_by_cigri", 47), ("free", 42))
BAR = 80


def usage(record: Json | None, details: Json) -> str:
    """How a cluster is used, in figures."""
    if record is None or details["blacklisted"]:
        return "\n    Data temporarily unavailable"
    return "".join(
        f"\n    {key}: {value}" for key, value in record.items() if key not in ("cluster_id", "cluster_name")
    )


def bar(record: Json | None, details: Json) -> str:
    """How a cluster is used, as a coloured bar."""
    if record is None or details["blacklisted"]:
        return "\n    Data temporarily unavailable\n"
    total = record["max_resources"]
    unavailable, ours = record["unavailable_resources"], record["used_by_cigri"]
    used = record["used_resources"] - ours
    parts = (unavailable, used, ours, total - ours - used - unavailable)
    cells = (
        f"\033[{colour}m \033[0m" * (part * BAR // total if total else 0)
        for part, (_, colour) in zip(parts, USAGE_COLOURS, strict=True)
    )
    return f" ({total} resources)\n{''.join(cells)}\n"


def legend() -> str:
    """What the colours of the bars mean."""
    return " ".join(f"\033[{colour}m \033[0m={word}" for word, colour in USAGE_COLOURS)
