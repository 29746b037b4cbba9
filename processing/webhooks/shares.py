"""Shares of the threads that deliver: how many endpoints of one owner or one receiver may be in hand at once.

An endpoint is in hand while its lease lasts, so that slow receivers use up the share of their owner and quick
ones do not.
"""

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Self
from urllib.parse import urlsplit

#: Endpoints in hand at once, in all processes together: of one owner, and of one receiver (host and port).
MAX_PER_OWNER = 4
MAX_PER_RECEIVER = 4


class Candidate(NamedTuple):
    """An endpoint that has to be delivered to, or is being delivered to."""

    id: uuid.UUID
    owner: int
    url: str

    @property
    def receiver(self) -> str:
        """The host and port; names of the same address count as different receivers."""
        return urlsplit(self.url).netloc.lower()


@dataclass(slots=True)
class InHand:
    """The endpoints in hand, counted by owner and by receiver."""

    owners: Counter[int] = field(default_factory=Counter)
    receivers: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, leased: Iterable[Candidate]) -> Self:
        """Count endpoints that are in hand."""
        counts = cls()
        for endpoint in leased:
            counts.owners[endpoint.owner] += 1
            counts.receivers[endpoint.receiver] += 1
        return counts

    def has_room(self, endpoint: Candidate) -> bool:
        """Return whether another endpoint of this owner and receiver may be taken in hand."""
        return (
            self.owners[endpoint.owner] < MAX_PER_OWNER
            and self.receivers[endpoint.receiver] < MAX_PER_RECEIVER
        )

    def next(self, waiting: Iterable[Candidate], preferred: uuid.UUID | None = None) -> Candidate | None:
        """Return the endpoint to take in hand now, None if all have to wait.

        It is one of the owner with the fewest in hand: the preferred one, else the first in `waiting`.
        """
        admitted = filter(self.has_room, waiting)
        return min(admitted, key=lambda one: (self.owners[one.owner], one.id != preferred), default=None)
