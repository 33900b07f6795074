"""Who may submit: where each user has a token of their own, only campaigns whose owner has a valid one are sent."""

from __future__ import annotations

import logging

from cigri.daemons.sites import Site
from cigri.db import events
from cigri.db.views import campaigns
from cigri.db.wallet import TokenMissing
from cigri.errors import TokenRefused

log = logging.getLogger(__name__)


def entitled(site: Site, campaign_id: int) -> bool:
    """Whether the campaign may be sent to the cluster; if not, it is set aside there and its owner told what to type.

    Raises Unreachable when the tokens cannot be opened at all: that is nobody's fault but the administrator's.
    """
    if site.wallet is None:
        return True
    with site.transaction() as session:
        owner = campaigns.owner(session, campaign_id) or ""
    try:
        site.wallet.check(owner)
    except TokenRefused as error:
        code = "RUNNER_SUBMIT_TOKEN_NOT_FOUND" if isinstance(error, TokenMissing) else "RUNNER_SUBMIT_PERMISSION_DENIED"
        _set_aside(site, events.News(code, str(error), campaign_id, site.id))
        return False
    return True


def _set_aside(site: Site, news: events.News) -> None:
    with site.transaction() as session:
        if not events.is_open(session, news):
            events.record(session, news)
            log.info("%s: campaign %s is set aside: %s", site.name, news.campaign_id, news.message)


def advice(site: Site) -> str:
    """What to type about a token that the cluster refused; empty where users have none."""
    return "" if site.wallet is None else f". Is it the right one? Else {site.wallet.advice}"
