"""Mail: over SMTP, with TLS and login where they are configured."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, parseaddr

from cigri.core.telling import Channel, Letter
from cigri.notify.base import NotDelivered, Result, Sender, ServerAway

TIMEOUT = 20.0  # seconds for each answer of the server
CLOSING = 421  # RFC 5321: "Service not available, closing transmission channel"


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed over, and as whom."""

    host: str
    port: int = 25
    tls: str = "none"  # none, starttls, ssl
    ca_file: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    sender: str = ""
    tag: str = ""

    @property
    def address(self) -> tuple[str, str]:
        """The sender's name (or "") and address."""
        name, address = parseaddr(self.sender)
        return name, address or f"cigri@{socket.getfqdn()}"


class MailSender(Sender):
    channel = Channel.MAIL

    def __init__(self, server: MailServer) -> None:
        self._server = server

    def deliver(self, letters: Iterable[Letter]) -> Iterator[Result]:
        connection: smtplib.SMTP | None = None
        try:
            for letter in letters:
                connection = connection or self._connect()
                yield letter, self._send(connection, letter)
        finally:
            if connection is not None:
                _hang_up(connection)

    def message(self, letter: Letter) -> EmailMessage:
        """The letter as a mail."""
        name, address = self._server.address
        mail = EmailMessage(policy=SMTP)
        mail["From"] = Address(name, addr_spec=address)
        mail["To"] = Address(addr_spec=letter.to)
        mail["Subject"] = f"{self._server.tag} {letter.subject}".strip()
        mail["Date"] = formatdate(localtime=True)
        mail["Message-ID"] = letter.message_id
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday message comes back
        mail.set_content(letter.body)
        return mail

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        where = f"mail server {server.host}:{server.port}"
        if server.user and server.tls == "none":
            raise ServerAway("NOTIFICATIONS_SMTP_USER needs NOTIFICATIONS_SMTP_TLS: no password is sent in clear")
        connection: smtplib.SMTP | None = None
        try:
            if server.tls == "ssl":
                connection = smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT, context=self._context())
            else:
                connection = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT)
            if server.tls == "starttls":
                connection.starttls(context=self._context())
            if server.user:
                connection.login(server.user, server.password)
        except smtplib.SMTPAuthenticationError as error:
            _hang_up(connection)
            raise ServerAway(f"{where} refuses the login of {server.user} ({error.smtp_code})") from None
        except (OSError, smtplib.SMTPException) as error:
            _hang_up(connection)
            raise ServerAway(f"{where}: {error}") from error
        return connection

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._server.ca_file or None)

    def _send(self, connection: smtplib.SMTP, letter: Letter) -> NotDelivered | None:
        try:
            connection.send_message(self.message(letter), self._server.address[1], [letter.to])
        except smtplib.SMTPRecipientsRefused as error:
            code, answer = error.recipients[letter.to]
            return _refusal(code, answer)
        except smtplib.SMTPSenderRefused as error:
            words = _text(error.smtp_error)
            raise ServerAway(f"mail server: does not take mail from {error.sender}: {words}") from None
        except smtplib.SMTPDataError as error:
            return _refusal(error.smtp_code, error.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            raise ServerAway(f"mail server: {error}") from error
        except ValueError as error:  # a header that cannot be one: this letter will never leave
            return NotDelivered(f"it cannot be made a mail: {error}", refused=True)
        return None


def _refusal(code: int, words: bytes | str) -> NotDelivered:
    if code == CLOSING:
        raise ServerAway(f"mail server: {code} {_text(words)}")
    return NotDelivered(f"{code} {_text(words)}", refused=code >= 500)


def _text(words: bytes | str) -> str:
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else words


def _hang_up(connection: smtplib.SMTP | None) -> None:
    """Say goodbye; whatever was accepted stays accepted."""
    if connection is None:
        return
    try:
        connection.quit()
    except (OSError, smtplib.SMTPException):
        connection.close()
