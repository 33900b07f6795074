"""A mail server for the tests, in a process of its own: STARTTLS and a login when asked for, mails as files.

In its folder: `port` says where it listens, `NNN.eml` are the mails it accepted. A file `refuse` makes it refuse
recipients, `later` refuse them for now, `hang` accept a mail and never answer.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Mailbox:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def handle_RCPT(self, server: Any, session: Session, envelope: Envelope, address: str, options: Any) -> str:  # noqa: N802
        if (self.folder / "refuse").exists():
            return "550 no such user here"
        if (self.folder / "later").exists():
            return "451 greylisted"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802
        number = time.time_ns()
        part = self.folder / f"{number}.part"
        part.write_bytes(envelope.content if isinstance(envelope.content, bytes) else envelope.content.encode())
        part.rename(self.folder / f"{number}.eml")
        while (self.folder / "hang").exists():
            await asyncio.sleep(0.05)
        return "250 OK"


def authenticator(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"grid", b"s3cret")
    return AuthResult(success=good, handled=False)


async def serve(folder: Path, port: int, pem: str | None) -> None:
    options: dict[str, Any] = {"enable_SMTPUTF8": False, "ident": "test"}
    if pem:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
        options |= {"tls_context": context, "require_starttls": True}
        options |= {"authenticator": authenticator, "auth_required": True}
    mailbox = Mailbox(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, loop=loop, **options), "127.0.0.1", port)
    part = folder / "port.part"
    part.write_text(str(server.sockets[0].getsockname()[1]))
    part.rename(folder / "port")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None))
