"""judas: tells. Events become messages in the database, and messages leave by mail, XMPP and webhooks."""

from __future__ import annotations

import logging
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cigri.config import Settings
from cigri.core import vault
from cigri.core.events import Severity
from cigri.core.telling import ADMINISTRATOR, MAX_REFUSALS, Channel, Letter, retry_delay, topics, wanted
from cigri.daemons.base import Daemon
from cigri.daemons.process import main
from cigri.db import events, notifications, subscriptions
from cigri.db.notifications import Draft
from cigri.errors import ConfigError
from cigri.notify import identities, wording
from cigri.notify.base import NotDelivered, Sender, ServerAway
from cigri.notify.channels import senders
from cigri.notify.wording import Message

log = logging.getLogger(__name__)

LETTERS = 50  # of one channel in one round, so that the others get their turn
PATIENCE = 20.0  # seconds after which a channel gives the turn back
UPKEEP_PERIOD = 60.0


class Judas(Daemon):
    def __init__(self, settings: Settings, engine: Engine) -> None:
        super().__init__(settings, engine, "judas")
        self._senders: Mapping[Channel, Sender] = senders(settings)
        self._holds: dict[Channel, _Hold] = {}
        self._next_upkeep = 0.0
        self._more = False

    @property
    def period(self) -> float:
        return 0.0 if self._more else self.settings.daemon_period

    def drop(self) -> None:
        self._holds.clear()
        self._next_upkeep = 0.0

    def cycle(self) -> str:
        """Write what is to be told, remind, and deliver what is due."""
        self._more = False
        written = self._tell()
        if time.monotonic() >= self._next_upkeep:
            self._next_upkeep = time.monotonic() + UPKEEP_PERIOD
            written += self._remind()
            self._give_up()
        sent = sum(self._deliver(sender) for sender in self._senders.values())
        counts = ((written, "messages written"), (sent, "delivered"))
        return ", ".join(f"{count} {what}" for count, what in counts if count)

    # --- what is to be told

    def _tell(self) -> int:
        """Mark events as told and write the messages about them, in one transaction."""
        gathering = timedelta(seconds=self.settings.notifications_gathering_delay)
        period = timedelta(seconds=self.settings.notifications_digest_period)
        with self.transaction() as session:
            found = topics(notifications.take(session, gathering=gathering, period=period))
            drafts = []
            for to in subscriptions.of_users(session, list(found), list(self._senders)):
                interesting = [topic for topic in found[to.grid_user] if wanted(topic.severity, to.severity)]
                drafts += self._drafts(to.id, wording.messages(interesting) if interesting else [])
            notifications.post(session, drafts)
        return len(drafts)

    def _remind(self) -> int:
        """Remind the administrator of blacklists that stay open."""
        period = timedelta(seconds=self.settings.notifications_reminder_period)
        if not period:
            return 0
        with self.transaction() as session:
            blacklists = notifications.due_reminder(session, period)
            if not blacklists:
                return 0
            message = wording.reminder(blacklists, datetime.now(UTC))
            everybody = subscriptions.of_users(session, [ADMINISTRATOR], list(self._senders))
            drafts = [
                draft
                for to in everybody
                if wanted(Severity.HIGH, to.severity)
                for draft in self._drafts(to.id, [message])
            ]
            notifications.post(session, drafts)
        log.warning("%s%s", message.subject, "" if drafts else "; nobody is told: root has no subscription")
        return len(drafts)

    def _drafts(self, subscription_id: int, messages: Sequence[Message]) -> list[Draft]:
        return [Draft(subscription_id, self._message_id(), one.subject, one.body) for one in messages]

    def _message_id(self) -> str:
        domain = self.settings.notifications_smtp_from.rpartition("@")[2].strip(" >") or socket.getfqdn()
        return f"<cigri.{uuid.uuid4().hex}@{domain if domain.isascii() and domain.isprintable() else 'localhost'}>"

    def _give_up(self) -> None:
        """Drop what could not be delivered for so long that nobody wants it any more."""
        age = timedelta(seconds=self.settings.notifications_give_up)
        kept = max(self.settings.notifications_digest_period, self.settings.notifications_reminder_period)
        with self.transaction() as session:
            dropped = notifications.give_up(session, age)
            for letter in dropped:
                self._dropped(session, letter, Channel(letter.to), f"not delivered for {age}")
            notifications.forget_old(session, timedelta(seconds=kept))

    def _dropped(self, session: Session, letter: Letter, channel: Channel, why: str) -> None:
        log.error("a message to %s by %s is given up, %s: %s", letter.user, channel, why, letter.subject)
        told = f"a message to {letter.user} by {channel} was given up: {why}"
        events.record(session, events.News("JUDAS_FAILED", told, alike=channel.value))

    # --- delivery

    def _deliver(self, sender: Sender) -> int:
        """Send what is due on this channel; how many letters were accepted."""
        hold = self._holds.setdefault(sender.channel, _Hold(sender.channel))
        if hold.closed:
            return 0
        with self.transaction() as session:
            letters = notifications.due(session, sender.channel, LETTERS)
        if not letters:
            return 0
        sent = settled = 0
        try:
            for letter, failure in self._sent(sender, letters):
                with self.transaction() as session:
                    self._settle(session, sender.channel, letter, failure)
                settled += 1
                sent += failure is None
        except ServerAway as error:
            hold.close(error)
            return sent
        hold.open()
        self._more = self._more or settled < len(letters) or len(letters) == LETTERS
        return sent

    def _sent(self, sender: Sender, letters: Sequence[Letter]) -> Iterator[tuple[Letter, NotDelivered | None]]:
        """What became of each letter, as the sender tells it. One whose address does not open keeps nobody else's."""
        if sender.channel is Channel.WEBHOOK:
            letters, unopened = self._opened(letters)
            yield from unopened
        yield from sender.deliver(self._guarded(letters))

    def _opened(self, letters: Sequence[Letter]) -> tuple[list[Letter], list[tuple[Letter, NotDelivered]]]:
        """Letters to webhooks with their URLs, and those whose URLs were sealed with a key that is gone."""
        try:
            keys = vault.load(self.settings.token_key_file)
        except ConfigError as error:
            raise ServerAway(f"the addresses of webhooks cannot be opened: {error}") from error
        opened: list[Letter] = []
        unopened: list[tuple[Letter, NotDelivered]] = []
        for one in letters:
            try:
                opened.append(replace(one, to=keys.open(one.to, identities.purpose(one.user))))
            except ConfigError as error:
                unopened.append((one, NotDelivered(str(error), refused=True)))
        return opened, unopened

    def _guarded(self, letters: Sequence[Letter]) -> Iterator[Letter]:
        """The letters one by one, as long as the duty is surely ours and the channel has not had its time."""
        until = time.monotonic() + PATIENCE
        for letter in letters:
            if time.monotonic() > until:
                return
            self.duty.guard()
            yield letter

    def _settle(self, session: Session, channel: Channel, letter: Letter, failure: NotDelivered | None) -> None:
        if failure is None:
            notifications.delivered(session, letter.id)
        elif failure.refused and letter.tries + 1 >= MAX_REFUSALS:
            notifications.delivered(session, letter.id)
            self._dropped(session, letter, channel, f"refused {MAX_REFUSALS} times: {failure}")
        else:
            delay = retry_delay(letter.tries)
            log.warning("a message to %s by %s: %s; tried again in %s", letter.user, channel, failure, delay)
            notifications.put_off(session, letter.id, delay)


class _Hold:
    """A channel whose server is away is left alone for a while, longer each time; that is told once."""

    def __init__(self, channel: Channel, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._clock = clock
        self._tries = 0
        self._until = 0.0

    @property
    def closed(self) -> bool:
        return self._clock() < self._until

    def close(self, error: ServerAway) -> None:
        delay = retry_delay(self._tries)
        if not self._tries:
            log.warning("%s: %s; messages wait", self._channel, error)
        self._tries += 1
        self._until = self._clock() + delay.total_seconds()

    def open(self) -> None:
        if self._tries:
            log.warning("%s: messages leave again", self._channel)
        self._tries, self._until = 0, 0.0


def run(arguments: Sequence[str]) -> int:
    return main("judas", Judas)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
