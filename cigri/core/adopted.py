"""Jobs that another grid had submitted, a CiGri 3: they carry neither a name nor a key of ours.

Such a job is told from others by its name there (`cigri.CAMPAIGN`) and its whole command line, which has the
campaign's number and the task's parameters in it. A digest of the command is kept in the name of the submission
under which the job is in our books: the cluster's answer is compared with it before an end is believed or a
deletion is sent.
"""

from __future__ import annotations

import hashlib
import re

NAME = re.compile(r"adopted\.([1-9][0-9]*)\.([1-9][0-9]*)\.[0-9a-f]{20}", re.ASCII)


def remote_name(campaign_id: int) -> str:
    """The name that a CiGri 3 gave all jobs of a campaign."""
    return f"cigri.{campaign_id}"


def name(campaign_id: int, job_id: int, command: str) -> str:
    """The name of the submission of one adopted job."""
    return f"adopted.{campaign_id}.{job_id}.{hashlib.sha256(command.encode()).hexdigest()[:20]}"


def campaign_of(submission: str) -> int | None:
    """The campaign of an adopted job, None for a submission of our own."""
    match = NAME.fullmatch(submission)
    return int(match[1]) if match else None


def has_name(remote: str, submission: str) -> bool:
    """Whether a job with this name on its cluster may be of that submission."""
    campaign_id = campaign_of(submission)
    return remote == (submission if campaign_id is None else remote_name(campaign_id))


def parameters(command: str, campaign_id: int) -> str | None:
    """What follows the variables of a CiGri 3 in a job's command line; None for any other command."""
    head = f"export CIGRI_CAMPAIGN_ID={campaign_id};"
    return command[len(head) :] if command.startswith(head) else None
