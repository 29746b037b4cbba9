"""Claims that found nothing since every host with pictures due was busy, and when to look again."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from products.models import Request

#: To find nothing, all that is due of a Request has to be read. Nobody does that again for so many times as
#: long as it took, nor for so many seconds.
REST = 20
SHORTEST_REST = 0.5


@dataclass(frozen=True, slots=True)
class _Look:
    busy: frozenset[str]
    rest_until: float


class VainLooks:
    """The last of each Request. One thread at a time asks about a Request."""

    def __init__(self) -> None:
        self._looks: dict[UUID, _Look] = {}

    def is_vain(self, batch: Request, busy: Collection[str]) -> bool:
        """Whether the last look found nothing with these hosts, or fewer, busy, and not long ago."""
        look = self._looks.get(batch.pk)
        return look is not None and look.busy.issubset(busy) and time.monotonic() < look.rest_until

    def note(self, batch: Request, busy: Collection[str], seconds: float) -> None:
        """A look that took so long has found nothing of other hosts than these."""
        now = time.monotonic()
        self._looks = {pk: look for pk, look in list(self._looks.items()) if now < look.rest_until}
        self._looks[batch.pk] = _Look(frozenset(busy), now + max(REST * seconds, SHORTEST_REST))
