"""The messages: what happened, to which campaign, what to type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from cigri.core.telling import Blacklist, Happening, Subject, Topic
from cigri.notify.phrases import Phrase, phrase

SINGLE = 4  # so many topics of one user in one round have a message each; more are one digest
SHOWN = 10  # events that a topic shows one by one
TOPICS = 30  # topics that a digest shows
LONGEST_SUBJECT = 140
LONGEST_EVENT = 2000
RULE = "-" * 70


@dataclass(frozen=True, slots=True)
class Message:
    """One line, and the text."""

    subject: str
    body: str


def messages(topics: Sequence[Topic]) -> list[Message]:
    """What one recipient gets now: a message for each topic, or a digest when there are many."""
    if len(topics) <= SINGLE:
        return [Message(headline(topic), "\n".join(body(topic)) + "\n") for topic in topics]
    return [digest(topics)]


def digest(topics: Sequence[Topic]) -> Message:
    """Many topics in one message, in the order given."""
    names = list(dict.fromkeys(_name(topic.campaign) for topic in topics if topic.campaign))
    about = f" about {len(names)} campaigns" if len(names) > 1 else f" about {names[0]}" if names else ""
    lines = [f"* {headline(topic)}" for topic in topics[:TOPICS]]
    if len(topics) > TOPICS:
        lines.append(f"* ... and {len(topics) - TOPICS} more: gridstat and gridevents -g show them")
    for topic in topics[:TOPICS]:
        lines += ["", RULE, headline(topic), "", *body(topic)]
    return Message(_line(f"{len(topics)} messages{about}"), "\n".join(lines) + "\n")


def headline(topic: Topic) -> str:
    """A topic in one line."""
    words = phrase(topic.code).headline.format(**_words(topic))
    detail = _detail(topic)
    if topic.campaign is not None:
        return _line(f"campaign {topic.campaign.id} ({topic.campaign.name}): {words}{detail}")
    clusters = list(dict.fromkeys(one.cluster for one in topic.happenings if one.cluster))
    where = f"cluster {', '.join(clusters)}: " if clusters else ""
    return _line(f"{where}{words}{detail}")


def body(topic: Topic) -> Iterator[str]:
    """A topic in full."""
    said, words = phrase(topic.code), _words(topic)
    yield headline(topic)[0].upper() + headline(topic)[1:] + "."
    if topic.campaign is not None and topic.code == "FINISHED_CAMPAIGN":
        yield _balance(topic.campaign)
    if said.sense:
        yield said.sense
    yield ""
    for one in topic.happenings[:SHOWN]:
        yield from _happening(one)
    if len(topic.happenings) > SHOWN:
        yield f"... and {len(topic.happenings) - SHOWN} more of this kind."
    yield from _advice(said, words)


def reminder(blacklists: Sequence[Blacklist], now: datetime) -> Message:
    """What the administrator is reminded of."""
    count = len(blacklists)
    what = "1 blacklist is" if count == 1 else f"{count} blacklists are"
    lines = [f"{what} still open:", ""]
    for one in blacklists:
        days = max(0, (now - one.since).days)
        age = "for less than a day" if not days else "for 1 day" if days == 1 else f"for {days} days"
        scope = f"campaign {one.campaign_id} ({one.campaign_name}) of {one.owner} on " if one.campaign_id else ""
        lines.append(f"- {scope}cluster {one.cluster}, {age}: event {one.event_id}, {one.cause}")
        lines += [f"    {line}" for line in _cut(one.message).splitlines()[:1]]
    lines += [
        "",
        "What to type:",
        "  gridevents -g              the open events of the grid",
        "  gridevents -e EVENT -f     close one when its cause is gone",
        "  gridadmin cluster disable NAME    for a cluster that will not come back soon",
    ]
    return Message(_line(f"reminder: {what} still open"), "\n".join(_clean(line) for line in lines) + "\n")


def _name(campaign: Subject | None) -> str:
    return f"campaign {campaign.id} ({campaign.name})" if campaign else ""


def _words(topic: Topic) -> dict[str, object]:
    count = sum(one.more for one in topic.happenings)
    job = next((one.job_id for one in topic.happenings if one.job_id), "JOB")
    tasks = "1 task" if count == 1 else f"{count} tasks"
    if any(one.told_before for one in topic.happenings):
        tasks = "1 more task" if count == 1 else f"{count} more tasks"
    return {"n": count, "tasks": tasks, "id": topic.campaign.id if topic.campaign else "ID", "job": job}


def _detail(topic: Topic) -> str:
    """What the headline tells of the cause: of failures alike, how they failed; of an end, the balance."""
    campaign = topic.campaign
    if topic.code == "FINISHED_CAMPAIGN" and campaign is not None:
        return f", {campaign.failed} of {campaign.total} tasks failed" if campaign.failed else ", all tasks succeeded"
    causes = {one.message.split("\n", 1)[0] for one in topic.happenings}
    if topic.code == "EXIT_ERROR" and len(causes) == 1:
        return f": {causes.pop()}"
    return ""


def _balance(campaign: Subject) -> str:
    parts = [(campaign.done, "succeeded"), (campaign.failed, "failed"), (campaign.cancelled, "cancelled")]
    return f"Of {campaign.total} tasks " + ", ".join(f"{count} {what}" for count, what in parts) + "."


def _happening(one: Happening) -> Iterator[str]:
    where = f" on {one.cluster}" if one.cluster else ""
    times = f"{one.count} times since " if one.count > 1 else ""
    jobs = ""
    if one.job_id:
        jobs = f", job {one.job_id}" if one.last_job_id in (None, one.job_id) else ""
        jobs = jobs or f", first job {one.job_id}, last job {one.last_job_id}"
    yield f"- {times}{_moment(one.opened)}{where}{jobs}"
    for line in _cut(one.message).splitlines():
        yield f"    {_clean(line)}"


def _advice(said: Phrase, words: dict[str, object]) -> Iterator[str]:
    if not said.advice:
        return
    filled = [(command.format(**words), what) for command, what in said.advice]
    width = max(len(command) for command, _ in filled)
    yield ""
    yield "What to type:"
    yield from (f"  {command:<{width}}   {what}" for command, what in filled)


def _moment(when: datetime) -> str:
    return when.astimezone().isoformat(" ", "seconds")


def _cut(message: str) -> str:
    return message if len(message) <= LONGEST_EVENT else f"{message[:LONGEST_EVENT]} ..."


def _line(words: str) -> str:
    """One line that may stand in a header."""
    line = re.sub(r"\s+", " ", _clean(words)).strip()
    return line if len(line) <= LONGEST_SUBJECT else f"{line[: LONGEST_SUBJECT - 4]} ..."


def _clean(words: str) -> str:
    """Without what would act on a terminal or end a header; surrogates cannot leave as UTF-8."""
    return "".join(one if one.isprintable() else " " if one in "\t\n" else "\ufffd" for one in words)
