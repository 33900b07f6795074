"""XMPP (jabber): one session for all letters that are due. Needs slixmpp: the extra `xmpp`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cigri.core.telling import Channel, Letter
from cigri.notify.base import NotDelivered, Result, Sender, ServerAway

TIMEOUT = 20.0  # seconds until the session stands, and until the server has taken everything
DIRECT_TLS_PORT = 5223
MISSING = "XMPP needs slixmpp on the grid's host: pip install 'cigri[xmpp]'"


@dataclass(frozen=True, slots=True)
class XmppAccount:
    """Where the grid logs in, and as whom."""

    host: str
    port: int = 5222
    identity: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""


class XmppSender(Sender):
    channel = Channel.JABBER

    def __init__(self, account: XmppAccount) -> None:
        self._account = account

    def deliver(self, letters: Iterable[Letter]) -> Iterator[Result]:
        if not available():
            raise ServerAway(MISSING)
        batch = list(letters)
        if batch:
            failures = asyncio.run(self._session(batch))
            yield from ((letter, failures.get(letter.message_id)) for letter in batch)

    async def _session(self, letters: Sequence[Letter]) -> dict[str, NotDelivered]:
        """Log in, send everything, and wait until the server has read it; what came back, by message id."""
        client = self._client()
        failures: dict[str, NotDelivered] = {}
        client.add_event_handler("message_error", lambda stanza: failures.update(_returned(stanza)))
        try:
            await self._log_in(client)
            for letter in letters:
                stanza = client.make_message(letter.to, f"{letter.subject}\n\n{letter.body}", mtype="chat")
                stanza["id"] = letter.message_id
                stanza.send()
            # A stream is read in order: who answers to this has taken all that went before.
            await asyncio.wait_for(_answered(client), TIMEOUT)
        except (TimeoutError, OSError) as error:
            raise ServerAway(f"{self._place}: {error or 'no answer'}") from error
        finally:
            await _hang_up(client)
        return failures

    @property
    def _place(self) -> str:
        return f"XMPP server {self._account.host}:{self._account.port}"

    def _client(self) -> Any:
        import slixmpp

        account = self._account
        client = slixmpp.ClientXMPP(account.identity, account.password)
        client.register_plugin("xep_0199")
        client.enable_direct_tls = account.port == DIRECT_TLS_PORT
        client.enable_starttls = not client.enable_direct_tls
        client.enable_plaintext = False
        if account.ca_file:
            client.ca_certs = Path(account.ca_file)
        return client

    async def _log_in(self, client: Any) -> None:
        """Raises ServerAway when the server cannot be reached or does not take the account."""
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def settle(trouble: str) -> None:
            if not ready.done():
                ready.set_result(trouble)

        client.add_event_handler("session_start", lambda _: settle(""))
        client.add_event_handler("failed_all_auth", lambda _: settle("the login is refused"))
        client.add_event_handler("connection_failed", lambda why: settle(str(why) or "no connection"))
        client.add_event_handler("disconnected", lambda why: settle(f"disconnected ({why})"))
        client.connect(self._account.host, self._account.port)
        trouble = await asyncio.wait_for(ready, TIMEOUT)
        if trouble:
            raise ServerAway(f"{self._place}: {trouble}")


def available() -> bool:
    """Whether slixmpp is there."""
    try:
        import slixmpp  # noqa: F401
    except ImportError:
        return False
    return True


async def _answered(client: Any) -> None:
    """Wait for the server's answer to a ping (XEP-0199); that it knows no pings is an answer, too."""
    from slixmpp.exceptions import IqError, IqTimeout

    try:
        await client.plugin["xep_0199"].ping(timeout=TIMEOUT)
    except IqError:
        return
    except IqTimeout:
        raise TimeoutError("no answer") from None


def _returned(stanza: Any) -> dict[str, NotDelivered]:
    condition = str(stanza["error"]["condition"])
    temporary = stanza["error"]["type"] == "wait"
    return {str(stanza["id"]): NotDelivered(f"came back: {condition}", refused=not temporary)}


async def _hang_up(client: Any) -> None:
    client.cancel_connection_attempt()
    await asyncio.wait([asyncio.ensure_future(client.disconnect(wait=1.0))], timeout=3.0)
