"""The ledgers of the clusters (cigri.core.ledger) in the database: read, charged with what ended, written back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Boolean, Float, Integer, Text, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cigri.core.ledger import Account, Charge, Ledger, UserAccount
from cigri.core.states import UNFINISHED, CampaignState
from cigri.db.arrays import rows
from cigri.db.tables import Campaign, CampaignCluster, CampaignShare, ClusterShare, UserShare

K = TypeVar("K")
A = TypeVar("A")
_NO_SYNC = {"synchronize_session": False}


class Ledgers:
    """The ledgers of some clusters, and what they were when they were read."""

    def __init__(self, ledgers: dict[int, Ledger]) -> None:
        self.of_cluster = ledgers
        self._times = {cluster_id: ledger.time for cluster_id, ledger in ledgers.items()}
        self._users = {cluster_id: _rows(ledger.users, _of_user) for cluster_id, ledger in ledgers.items()}
        self._campaigns = {cluster_id: _rows(ledger.campaigns, _of_campaign) for cluster_id, ledger in ledgers.items()}

    def times(self) -> list[tuple[Any, ...]]:
        """The rows of clusters that have changed."""
        found = self.of_cluster.items()
        return [(cluster_id, ledger.time) for cluster_id, ledger in found if ledger.time != self._times[cluster_id]]

    def users(self) -> list[tuple[Any, ...]]:
        """The rows of users that have changed."""
        return [
            (cluster_id, user, *row)
            for cluster_id, ledger in self.of_cluster.items()
            for user, row in _rows(ledger.users, _of_user).items()
            if row != self._users[cluster_id].get(user)
        ]

    def campaigns(self) -> list[tuple[Any, ...]]:
        """The rows of campaigns that have changed."""
        return [
            (cluster_id, campaign_id, *row)
            for cluster_id, ledger in self.of_cluster.items()
            for campaign_id, row in _rows(ledger.campaigns, _of_campaign).items()
            if row != self._campaigns[cluster_id].get(campaign_id)
        ]


def _rows(accounts: Mapping[K, A], row: Callable[[A], tuple[Any, ...]]) -> dict[K, tuple[Any, ...]]:
    return {key: row(account) for key, account in accounts.items()}


def _of_user(account: UserAccount) -> tuple[Any, ...]:
    return account.time, account.inner, account.active, account.weight, account.recent


def _of_campaign(account: Account) -> tuple[Any, ...]:
    return account.time, account.active


def take_charges(session: Session) -> dict[int, list[Charge]]:
    """What jobs have been charged since this was asked last, by cluster; nobody is told it again.

    Books that a runner is writing to just now are left for the next time.
    """
    pair = CampaignCluster
    taken = (
        select(pair.campaign_id, pair.cluster_id, pair.uncharged)
        .where(pair.uncharged > 0)
        .with_for_update(skip_locked=True)
        .cte("taken")
    )
    unfinished = case((Campaign.state.in_(UNFINISHED), Campaign.id))
    change = (
        update(pair)
        .where(
            pair.campaign_id == taken.c.campaign_id,
            pair.cluster_id == taken.c.cluster_id,
            Campaign.id == taken.c.campaign_id,
        )
        .values(uncharged=0)
        .returning(
            pair.cluster_id,
            unfinished,
            Campaign.grid_user,
            taken.c.uncharged,
            pair.share,
        )
        .execution_options(**_NO_SYNC)
    )
    charges: dict[int, list[Charge]] = defaultdict(list)
    for cluster_id, *charge in session.execute(change):
        charges[cluster_id].append(Charge(*charge))
    return charges


def read(session: Session, cluster_ids: Collection[int], half_life: float) -> Ledgers:
    """The ledgers of these clusters; `half_life` of recent use in seconds, 0: it is not counted."""
    ledgers = {cluster_id: Ledger() for cluster_id in cluster_ids}
    if not ledgers:
        return Ledgers(ledgers)
    for cluster_id, time in session.execute(_of(ClusterShare, ledgers, ClusterShare.virtual_time)):
        ledgers[cluster_id].time = time
    user = UserShare
    age = func.extract("epoch", func.now() - user.recent_at)
    columns = (user.grid_user, user.virtual_time, user.active, user.inner_time, user.recent, user.weight, age)
    for cluster_id, name, time, active, inner, recent, weight, seconds in session.execute(_of(user, ledgers, *columns)):
        left = recent * 2.0 ** (-float(seconds) / half_life) if half_life else 0.0
        ledgers[cluster_id].users[name] = UserAccount(time, active, inner, left, weight)
    mine = CampaignShare
    for cluster_id, campaign_id, time, active in session.execute(
        _of(mine, ledgers, mine.campaign_id, mine.virtual_time, mine.active)
    ):
        ledgers[cluster_id].campaigns[campaign_id] = Account(time, active)
    return Ledgers(ledgers)


def _of(table: Any, ledgers: Mapping[int, Ledger], *columns: Any) -> Any:
    return select(table.cluster_id, *columns).where(table.cluster_id.in_(list(ledgers)))


def write(session: Session, ledgers: Ledgers) -> None:
    """Keep what has changed."""
    _upsert(session, ClusterShare, (Integer(), Float()), ledgers.times())
    kinds = (Integer(), Text(), Float(), Float(), Boolean(), Float(), Float())
    _upsert(session, UserShare, kinds, ledgers.users(), recent_at=func.now())
    _upsert(session, CampaignShare, (Integer(), Integer(), Float(), Boolean()), ledgers.campaigns())


def _upsert(session: Session, table: Any, kinds: Sequence[Any], values: Sequence[tuple[Any, ...]], **more: Any) -> None:
    """Rows of the table's first columns, new or in the place of those with the same key."""
    if not values:
        return
    names = [column.name for column in table.__table__.columns][: len(kinds)]
    columns = zip(kinds, zip(*values, strict=True), strict=True)
    new = rows("new", **dict(zip(names, columns, strict=True)))
    keys = [column.name for column in table.__table__.primary_key]
    statement = insert(table).from_select(names, select(*(new.c[name] for name in names)))
    kept = {name: statement.excluded[name] for name in names if name not in keys} | more
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_=kept))


def forget_ended(session: Session) -> None:
    """Drop the accounts of campaigns that have ended; their users' stay."""
    ended = select(Campaign.id).where(
        Campaign.state.in_((CampaignState.CANCELLED, CampaignState.TERMINATED)),
        Campaign.id == CampaignShare.campaign_id,
    )
    session.execute(delete(CampaignShare).where(ended.exists()).execution_options(**_NO_SYNC))
