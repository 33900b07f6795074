"""Which ways out this grid has, as the configuration says."""

from __future__ import annotations

from collections.abc import Mapping

from cigri.config import Settings
from cigri.core.telling import Channel
from cigri.notify import xmpp
from cigri.notify.base import Sender
from cigri.notify.mail import MailSender, MailServer
from cigri.notify.webhook import WebhookSender
from cigri.notify.xmpp import XmppAccount, XmppSender


def senders(settings: Settings) -> Mapping[Channel, Sender]:
    """The channels that are configured. Webhooks need no server of ours."""
    found: dict[Channel, Sender] = {}
    if settings.notifications_smtp_server:
        found[Channel.MAIL] = MailSender(
            MailServer(
                settings.notifications_smtp_server,
                settings.notifications_smtp_port,
                settings.notifications_smtp_tls,
                settings.notifications_smtp_ca_file,
                settings.notifications_smtp_user,
                settings.notifications_smtp_password,
                settings.notifications_smtp_from,
                settings.notifications_smtp_subject_tag,
            )
        )
    if settings.notifications_xmpp_server:
        found[Channel.JABBER] = XmppSender(
            XmppAccount(
                settings.notifications_xmpp_server,
                settings.notifications_xmpp_port,
                settings.notifications_xmpp_identity,
                settings.notifications_xmpp_password,
                settings.notifications_xmpp_ca_file,
            )
        )
    found[Channel.WEBHOOK] = WebhookSender(settings.notifications_webhook_hosts)
    return found


def missing(settings: Settings, channel: Channel) -> str:
    """What the administrator has to do before anything leaves on this channel; "" for nothing."""
    if channel is Channel.MAIL and not settings.notifications_smtp_server:
        return "this grid sends no mail: its administrator has to set NOTIFICATIONS_SMTP_SERVER"
    if channel is Channel.JABBER and not settings.notifications_xmpp_server:
        return "this grid has no XMPP account: its administrator has to set NOTIFICATIONS_XMPP_SERVER"
    if channel is Channel.JABBER and not xmpp.available():
        return xmpp.MISSING
    return ""
