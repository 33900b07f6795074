"""What of a submission is on its cluster: which job goes with which key, what is surplus, what never came."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Set
from dataclasses import dataclass
from typing import NamedTuple


class Sighting(NamedTuple):
    """A job with the submission's name as it was seen on the cluster.

    `key`: the job id in its command line, None where there is none. `held`: it waits and will not start by
    itself (half made by the cluster). `replaces`: the job that the cluster restarted as this one, 0 for none.
    """

    id: int
    key: int | None
    replaces: int = 0
    array_index: int | None = None
    held: bool = False
    ended: bool = False
    succeeded: bool = False


class Chain(NamedTuple):
    """The tries of one key under the ids that the cluster gave it, oldest first."""

    sightings: tuple[Sighting, ...]

    @property
    def newest(self) -> Sighting:
        return self.sightings[-1]

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """The lower, the better to keep: success, then alive, then old."""
        succeeded = any(sighting.succeeded for sighting in self.sightings)
        return (not succeeded, self.newest.ended, self.sightings[0].id)


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which chain each key has, which jobs to delete, which keys are not there."""

    kept: dict[int, Chain]
    surplus: tuple[int, ...]
    missing: frozenset[int]


def pair(keys: Set[int], sightings: Collection[Sighting]) -> Pairing:
    """Pair the keys of a submission with what was seen of it.

    Of several chains with one key one is kept, the others are surplus; so are jobs that are held, and those
    whose key is not of this submission. What has ended needs no deletion.
    """
    seen_once = {each.key: Chain((each,)) for each in sightings if each.key is not None and not each.held}
    if len(seen_once) == len(sightings) and seen_once.keys() <= keys:  # by far the most submissions
        return Pairing(seen_once, (), frozenset(keys - seen_once.keys()))
    by_key: dict[int | None, list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        by_key[sighting.key if sighting.key in keys else None].append(sighting)
    surplus = {sighting.id for sighting in by_key.pop(None, []) if not sighting.ended}
    kept: dict[int, Chain] = {}
    for key, seen in by_key.items():
        assert key is not None
        chains = sorted((chain for chain in _chains(seen) if not chain.newest.held), key=lambda chain: chain.rank)
        if chains:
            kept[key] = chains[0]
        keeping = {sighting.id for sighting in chains[0].sightings} if chains else set()
        surplus |= {sighting.id for sighting in seen if not sighting.ended and sighting.id not in keeping}
    return Pairing(kept, tuple(sorted(surplus)), frozenset(keys) - kept.keys())


def _chains(seen: Iterable[Sighting]) -> list[Chain]:
    """The jobs in the order in which the cluster restarted them; each job is in one chain.

    A success ends its chain: what the cluster restarted after it is another run, and not wanted.
    """
    ordered = sorted(seen, key=lambda sighting: sighting.id)
    ids = {sighting.id for sighting in ordered if not sighting.succeeded}
    next_of: dict[int, Sighting] = {}
    for sighting in ordered:
        if sighting.replaces in ids and sighting.replaces < sighting.id:
            next_of.setdefault(sighting.replaces, sighting)
    followers = {sighting.id for sighting in next_of.values()}
    chains = []
    for first in ordered:
        if first.id in followers:
            continue
        links = [first]
        while (follower := next_of.get(links[-1].id)) is not None:
            links.append(follower)
        chains.append(Chain(tuple(links)))
    return chains
