"""What users and campaigns have been served on a cluster, in virtual time: core-seconds over weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LEAST_CHARGE = 1.0  # core-seconds that a job is charged at least: nobody takes turns for nothing
FACTOR_STEPS = 8  # of the factor of recent use, to one doubling


@dataclass(slots=True)
class Account:
    """Of a campaign among its user's. `time`: what its ended jobs were charged, each over the weight of the moment.

    active: it was in the backlog when the cluster was dealt out last.
    """

    time: float = 0.0
    active: bool = False


@dataclass(slots=True)
class UserAccount(Account):
    """Of a user among the cluster's. `inner`: the virtual time among its campaigns; `weight`: its present one.

    recent: core-seconds charged, halved with every half-life that has passed.
    """

    inner: float = 0.0
    recent: float = 0.0
    weight: float = 1.0


@dataclass(slots=True)
class Ledger:
    """The accounts of one cluster. `time`, the cluster's virtual time, never goes back: whoever comes starts there."""

    time: float = 0.0
    users: dict[str, UserAccount] = field(default_factory=dict)
    campaigns: dict[int, Account] = field(default_factory=dict)

    def user(self, user: str) -> UserAccount:
        """The user's account; a new one begins at the present virtual time."""
        return self.users.setdefault(user, UserAccount(self.time))

    def campaign(self, user: str, campaign_id: int) -> Account:
        """The campaign's account; a new one begins at the present virtual time among its user's."""
        return self.campaigns.setdefault(campaign_id, Account(self.user(user).inner))

    def charge(self, charge: Charge) -> None:
        """Jobs have ended: what they are charged counts for the campaign, its user, and the user's recent use."""
        account = self.user(charge.user)
        if charge.campaign_id is not None:
            self.campaign(charge.user, charge.campaign_id).time += charge.seconds / charge.share
        account.time += charge.seconds / account.weight
        account.recent += charge.seconds


@dataclass(frozen=True, slots=True)
class Charge:
    """Core-seconds that ended jobs of a campaign are charged; `share` is its weight among its user's campaigns.

    campaign_id: None for one that is over: only its user is charged.
    """

    campaign_id: int | None
    user: str
    seconds: float
    share: float = 1.0


def use_factors(recent: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """How the recent use of those who compete (the keys of `weights`) bends their weights: from 2 down to 1/2.

    1 for who has used what its weight entitles it to, 2 for who has used nothing, 1/2 for twice as much and more;
    in steps, so that weights do not change with every job.
    """
    used = sum(recent.get(user, 0.0) for user in weights)
    entitled = sum(weights.values())
    if used <= 0:
        return dict.fromkeys(weights, 1.0)
    bends = {
        user: max(-1.0, 1.0 - (recent.get(user, 0.0) / used) * entitled / weight) for user, weight in weights.items()
    }
    return {user: 2.0 ** (round(bend * FACTOR_STEPS) / FACTOR_STEPS) for user, bend in bends.items()}


def charged(used: float, *, preempted: bool, preempted_charge: float) -> float:
    """What an ended job is charged that has used so many core-seconds."""
    return max(LEAST_CHARGE, used * (preempted_charge if preempted else 1.0))


def guess(ended: int, used: float, longest: float) -> float:
    """What one more job of a campaign will probably be charged: the mean so far; before there is one, its walltime."""
    return max(LEAST_CHARGE, min(used / ended, longest) if ended else longest)


def retire(ledger: Ledger, users: Iterable[str], campaigns: Iterable[int]) -> None:
    """Who is not among these is not in the backlog any more."""
    there, here = frozenset(users), frozenset(campaigns)
    for user, account in ledger.users.items():
        account.active = account.active and user in there
    for campaign_id, campaign in ledger.campaigns.items():
        campaign.active = campaign.active and campaign_id in here
