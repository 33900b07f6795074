"""What the senders have in common: letters go in, what became of each comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from cigri.core.telling import Channel, Letter
from cigri.errors import CigriError


class ServerAway(CigriError):
    """No letter of this channel can leave now: try again later."""


class NotDelivered(CigriError):
    """This letter was not accepted. `refused`: the server would say no again."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        self.refused = refused
        super().__init__(message)


Result = tuple[Letter, NotDelivered | None]


class Sender(ABC):
    """A way on which letters leave."""

    channel: Channel

    @abstractmethod
    def deliver(self, letters: Iterable[Letter]) -> Iterator[Result]:
        """Send the letters, each taken when its turn comes; what became of each, as soon as that is known.

        A letter without failure was accepted by the server. Raises ServerAway: what was not yielded was not
        accepted, or nobody knows.
        """
