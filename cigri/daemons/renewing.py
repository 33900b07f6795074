"""Users' tokens are renewed by their cluster's own route before they expire; where that fails, their owner is told."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from cigri.core import tokens, vault
from cigri.daemons.sites import Site
from cigri.db import events, mappings
from cigri.db.tables import UserMapping
from cigri.errors import ClusterError, ConfigError, Refused

log = logging.getLogger(__name__)


def renew_tokens(site: Site) -> int:
    """Renew the tokens of this cluster whose time has come; how many were. Nothing to do where users have none."""
    if site.wallet is None:
        return 0
    with site.transaction() as session:
        expiring = mappings.expiring(session, site.id)
    return sum(_look_at(site, mapping) for mapping in expiring)


def _look_at(site: Site, mapping: UserMapping) -> bool:
    now = datetime.now(UTC)
    if mapping.stored_at is None or mapping.expires_at is None:
        return False
    if mapping.expires_at <= now or not tokens.renewal_due(now, mapping.stored_at, mapping.expires_at):
        return False
    try:
        return _renew(site, mapping)
    except (ClusterError, ConfigError) as error:
        log.warning("%s: the token of %s is not renewed: %s", site.name, mapping.grid_login, error)
        wait = tokens.next_try(mapping.stored_at, mapping.expires_at)
        hopeless = isinstance(error, Refused)
        with site.transaction() as session:
            mappings.put_off(session, mapping, wait)
            if hopeless or tokens.owner_is_told(now, mapping.stored_at, mapping.expires_at):
                _tell(site, session, mapping)
        return False


def _renew(site: Site, mapping: UserMapping) -> bool:
    """Ask for a new token and keep it."""
    login = mapping.token_login or mapping.cluster_login or mapping.grid_login
    token = site.acting_for(mapping.grid_login).cluster.renew_token(login)
    try:
        said = tokens.claims(token)
    except ValueError as error:
        raise ConfigError(f"{site.name} gave a new token that cannot be used: {error}") from None
    sooner = said.expires is not None and mapping.expires_at is not None and said.expires <= mapping.expires_at
    if said.user != mapping.token_login or sooner:
        raise ConfigError(f"{site.name} gave a new token that is no better, or somebody else's")
    sealed = vault.load(site.settings.token_key_file).seal(token, mappings.purpose(mapping.grid_login, site.id))
    with site.transaction() as session:
        kept = mappings.replace(session, mapping, sealed, said)
    if kept:
        until = "for ever" if said.expires is None else f"until {said.expires:%Y-%m-%d}"
        log.info("%s: the token of %s was renewed, valid %s", site.name, mapping.grid_login, until)
    return kept


def _tell(site: Site, session: Session, mapping: UserMapping) -> None:
    """Once for each token."""
    if site.wallet is None or not mappings.note_told(session, mapping):
        return
    message = (
        f"The token of {mapping.grid_login} for {site.name} expires on {mapping.expires_at:%Y-%m-%d %H:%M} UTC and"
        f" could not be renewed: {site.wallet.advice}"
    )
    alike = f"{mapping.grid_login} {mapping.expires_at}"
    news = events.News("TOKEN_EXPIRES_SOON", message, cluster_id=site.id, alike=alike, grid_user=mapping.grid_login)
    events.record(session, news)
