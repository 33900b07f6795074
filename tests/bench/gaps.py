"""How many dispatches of others pass a campaign that waits: counted on a cluster, and bound 3 of docs/scheduling.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Protocol

from cigri.core.ledger import LEAST_CHARGE

# The factor of recent use: weights are between these where nobody has a priority.
LIGHT, HEAVY = 0.5, 2.0


def turns(most: int, longest: float, other: float, weight: float) -> float:
    """Most turns of another user, or campaign of the same user, before the next of one that waits.

    most: jobs in flight on the cluster; longest, other: the virtual time that a job of anybody, and of the other,
    brings at most; weight: the largest of the other. Places are given out of turn, too.
    """
    return 1 + ((4 * most + 2) * longest + most * other) * weight / LEAST_CHARGE


def dispatches(of_campaigns: Iterable[float], of_users: Iterable[float]) -> float:
    """(M + 1)(P + 1), from the turns of the user's other campaigns and of the other users."""
    return (sum(of_campaigns) + 1) * (sum(of_users) + 1)


class Waiting(Protocol):
    """A campaign."""

    user: str
    walltime: float


class Gaps:
    """Of the campaigns of one cluster; a gap begins when one comes into the backlog and with each of its dispatches."""

    def __init__(self, campaigns: Mapping[int, Waiting]) -> None:
        self.longest = 0  # dispatches of others
        self.of_bound = 0.0  # the longest over its bound
        self._campaigns = campaigns
        self._walltime: dict[str, float] = defaultdict(float)  # the longest of each user
        for each in campaigns.values():
            self._walltime[each.user] = max(self._walltime[each.user], each.walltime)
        self._most = 0  # jobs in flight
        self._sent = 0
        self._last: dict[int, int] = {}  # campaign -> what had been sent with its last dispatch
        self._began: dict[int, int] = {}  # campaign in the backlog -> what had been sent when its gap began

    def waits(self, number: int) -> None:
        """This campaign is in the backlog."""
        self._began.setdefault(number, self._sent)

    def sent(self, number: int, jobs: int, flying: int) -> None:
        """The campaign has got so many dispatches; all campaigns have so many in flight now."""
        self._close(number)
        self._most = max(self._most, flying)
        self._sent += jobs
        self._last[number] = self._began[number] = self._sent

    def left(self, number: int) -> None:
        """The campaign is not in the backlog any more."""
        if number in self._began:
            self._close(number)
            del self._began[number]

    def _close(self, number: int) -> None:
        began = self._began[number]
        if passed := self._sent - began:
            self.longest = max(self.longest, passed)
            by = [each for each, last in self._last.items() if last > began]
            self.of_bound = max(self.of_bound, passed / self._bound(number, by))

    def _bound(self, number: int, others: Iterable[int]) -> float:
        """Where no more than these others have passed."""
        user = self._campaigns[number].user
        rivals = [self._campaigns[other] for other in others]
        longest = max(self._walltime.values()) / LIGHT
        return dispatches(
            (turns(self._most, self._walltime[user], each.walltime, 1.0) for each in rivals if each.user == user),
            (
                turns(self._most, longest, self._walltime[other] / LIGHT, HEAVY)
                for other in {each.user for each in rivals} - {user}
            ),
        )
