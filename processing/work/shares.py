"""Shares of fetch slots: what hosts that have never answered may take up, in all and for each owner.

A silent host holds a slot until the time limit. A catalogue with very many of them would hold all slots of a
process, and pictures of other users would wait for minutes.
"""

from collections import Counter
from collections.abc import Hashable


class FetchShares:
    """Counts fetches from silent hosts: those that have not answered yet. Used in the event loop only.

    All silent hosts together get seven eighths of `slots`, those of one owner three quarters.
    """

    def __init__(self, slots: int) -> None:
        self._max_silent = max(1, 7 * slots // 8)
        self._max_per_owner = max(1, 3 * slots // 4)
        self._silent: Counter[Hashable] = Counter()

    def has_room(self, owner: Hashable, *, is_silent: bool) -> bool:
        """Return whether a fetch from a host, silent or not, may start."""
        if not is_silent:
            return True
        return self._silent[owner] < self._max_per_owner and self._silent.total() < self._max_silent

    def begin(self, owner: Hashable) -> None:
        """Count a fetch from a silent host that starts."""
        self._silent[owner] += 1

    def end(self, owner: Hashable) -> None:
        """Count a fetch that `begin` has counted and that has ended, or whose host has answered others."""
        self._silent[owner] -= 1
        if not self._silent[owner]:
            del self._silent[owner]
