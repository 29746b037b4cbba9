"""Shares of hosts that have never answered."""

from collections.abc import Hashable

import pytest

from processing.work.shares import FetchShares

SLOTS = 32


def begin(shares: FetchShares, owner: Hashable, at_most: int = SLOTS) -> int:
    """Begin fetches from silent hosts, and return how many could be begun."""
    begun = 0
    while begun < at_most and shares.has_room(owner, is_silent=True):
        shares.begin(owner)
        begun += 1
    return begun


def test_silent_hosts_of_one_owner_leave_room_for_those_of_another() -> None:
    shares = FetchShares(SLOTS)
    assert (begin(shares, "ann"), begin(shares, "bob")) == (24, 4)
    assert not shares.has_room("carl", is_silent=True)
    assert shares.has_room("ann", is_silent=False)
    shares.end("ann")
    assert begin(shares, "carl") == 1


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_every_process_can_fetch_from_a_host_for_the_first_time(slots: int) -> None:
    assert begin(FetchShares(slots), "ann") >= 1
