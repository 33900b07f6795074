"""Campaigns and tasks that arrive, put before the administrator's admission rules."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy.orm import Session

from cigri.admission import Broken, Rules
from cigri.admission import Context as Known
from cigri.api.context import Context
from cigri.api.submissions import Wanted
from cigri.config import Settings
from cigri.core import jdl
from cigri.core.states import UNFINISHED
from cigri.db import admission, campaigns
from cigri.db.views import clusters
from cigri.errors import InvalidJDL

log = logging.getLogger(__name__)


def rules_of(here: Context) -> Rules:
    """The rules of this server."""
    rules: Rules = here.request.app.state.rules
    return rules


def look(rules: Rules) -> None:
    """Tell the administrator at the server's start what every submission would be refused for."""
    try:
        rules.current()
    except Broken as error:
        log.error("admission rules are broken, every campaign is refused: %s", error)


def admit(here: Context, session: Session, wanted: Wanted, user: str) -> Wanted:
    """The campaign as the rules leave it. Raises Refuse and Broken, and then nothing may be stored.

    Campaigns of one user are admitted one after the other, so that two at once do not both count as the last one.
    """
    rules = rules_of(here)
    if not rules.current():
        return wanted
    admission.wait_turn(session, user)
    known = {view.cluster.name: view.cluster.id for view in clusters.clusters(session)}
    context = replace(
        _known(here.settings, list(known)),
        tasks=wanted.tasks.total,
        unfinished=admission.unfinished(session, user),
    )
    before = jdl.expanded(wanted.campaign)
    after = rules.admit(before, user, context)
    if after == before:
        return wanted
    try:
        campaign, warnings = jdl.parse(
            after,
            known_clusters=known,
            default_resources=here.settings.default_job_resources,
            default_walltime=here.settings.default_job_walltime,
            streamed=True,
        )
    except InvalidJDL as error:
        directory = Path(here.settings.admission_rules_directory)
        raise Broken(directory, f"the rules made a JDL of it that is not good: {error}") from error
    ids = {name: known[name] for name in campaign.clusters}
    return replace(wanted, campaign=campaign, clusters=ids, warnings=[*wanted.warnings, *warnings])


def admit_tasks(here: Context, session: Session, campaign_id: int, added: int) -> None:
    """Put tasks that are to be added before the rules, as their owner's. Raises as `admit`; changes do not count."""
    rules = rules_of(here)
    if not rules.current():
        return
    campaign = campaigns.lock(session, campaign_id)
    admission.wait_turn(session, campaign.grid_user)
    context = replace(
        _known(here.settings, [view.cluster.name for view in clusters.clusters(session)]),
        tasks=campaign.total_tasks + added,
        unfinished=admission.unfinished(session, campaign.grid_user, besides=campaign_id),
        campaign=campaign_id,
        opens=campaign.state not in UNFINISHED,
    )
    rules.admit(campaign.jdl, campaign.grid_user, context)


def _known(settings: Settings, names: Sequence[str]) -> Known:
    return Known(
        tasks=0,
        clusters=tuple(names),
        administrators=settings.api_administrators,
        max_tasks=settings.max_tasks_per_campaign,
        max_campaigns=settings.max_campaigns_per_user,
        user_lists_file=settings.user_lists_file,
    )
