"""Names of submissions: what tells a job of this grid from every other on a cluster."""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

RANDOM_BYTES = 10
LONGEST = 60  # OAR3's API does not survive a name of over 100 characters

NAME = re.compile(r"cigri\.([0-9a-f]{8})\.([1-9][0-9]{0,18})\.([a-z2-7]{16})", re.ASCII)


class SubmissionName(NamedTuple):
    """The parts of a submission's name."""

    grid_id: str
    campaign_id: int
    nonce: str

    def __str__(self) -> str:
        return f"{prefix(self.grid_id)}{self.campaign_id}.{self.nonce}"


def prefix(grid_id: str) -> str:
    """How the names of all submissions of a grid begin."""
    return f"cigri.{grid_id}."


def make(grid_id: str, campaign_id: int, random: bytes) -> str:
    """The name of a new submission: `random` is 10 fresh random bytes, never used before."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"{RANDOM_BYTES} random bytes are needed, not {len(random)}")
    nonce = base64.b32encode(random).decode("ascii").lower()
    name = str(SubmissionName(grid_id, campaign_id, nonce))
    if parse(name) is None:
        raise ValueError(f"no name can be made of grid {grid_id!r}, campaign {campaign_id}")
    return name


def parse(name: str) -> SubmissionName | None:
    """The parts of a name, or None if it is not one of a grid's submissions."""
    match = NAME.fullmatch(name)
    return SubmissionName(match[1], int(match[2]), match[3]) if match else None
