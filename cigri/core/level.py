"""One level of sharing: the users of a cluster, or the campaigns of one user. docs/scheduling.md has the rule.

Times are virtual: core-seconds over a weight.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Generic, TypeVar

from cigri.core.ledger import Account

K = TypeVar("K", str, int)


class Level(Generic[K]):
    """Those who compete in one deal. `ahead`: what each has been charged, and what its jobs in flight will be.

    `now` is the present: what the one that was served least has used, of those who have waited all the while.
    """

    def __init__(
        self,
        now: float,
        accounts: Mapping[K, Account],
        flying: Mapping[K, float],
        spent: Mapping[K, float],
        lead: float,
    ) -> None:
        """`flying`: what the jobs in flight will be charged; `spent`: what they have used so far.

        `lead`: how far ahead of the present nobody is left who comes, or got something out of turn.
        """
        self._accounts: Mapping[K, Account] = accounts
        self._spent: Mapping[K, float] = spent
        self._lead = lead
        waited = [account.time + spent[key] for key, account in accounts.items() if account.active]
        self.now = max(now, min(waited, default=now))
        for key, account in accounts.items():
            if not account.active:
                account.active = True
                account.time = start(account.time, self.now, spent[key], lead)
        self.ahead: dict[K, float] = {key: account.time + flying[key] for key, account in accounts.items()}

    def give(self, key: K, amount: float) -> None:
        """Places were given to this one that will be charged so much."""
        self.ahead[key] += amount

    def forgive(self, key: K) -> None:
        """What was got out of turn puts nobody further ahead than turns alone can."""
        account = self._accounts[key]
        if (excess := account.time - self.now - self._lead) > 0:
            account.time -= excess
            self.ahead[key] -= excess

    def close(self, sated: Collection[K]) -> None:
        """These have got all that they could use: they wait no more.

        When nobody waits, there is nobody to be fair to: whoever comes is level with the one that was served most.
        """
        for key in sated:
            self._accounts[key].active = False
        if self._accounts and not any(account.active for account in self._accounts.values()):
            self.now = max(self.now, *(account.time + self._spent[key] for key, account in self._accounts.items()))


def start(time: float, now: float, spent: float, lead: float) -> float:
    """Where the account of somebody who becomes active begins: no credit saved, no debt beyond `lead`.

    What its jobs in flight have used so far (`spent`) counts, as it does for the present: not what they may use.
    """
    return min(max(time, now - spent), now + lead)
