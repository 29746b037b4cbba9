"""Codec time is divided between users, whatever the number and the cost of each one's pictures."""

from threading import Thread

import pytest

from processing.work.fair_gate import FairGate
from tests.support.parallel import wait_until


class Clock:
    """A clock that moves as far as each block says that it takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Line:
    """Threads that wait for a gate with one place, which takes as many seconds as told for each."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.gate = FairGate(1, self.clock)
        self.order: list[str] = []
        self._threads: list[Thread] = []

    def add(self, owner: str, seconds: float) -> None:
        """Let a thread wait, behind those that wait already."""
        waiting = self._waiting()
        thread = Thread(target=self._take, args=(owner, seconds), daemon=True)
        self._threads.append(thread)
        thread.start()
        wait_until(lambda: self._waiting() == waiting + 1)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)

    def _waiting(self) -> int:
        return sum(map(len, self.gate._waiting.values()))

    def _take(self, owner: str, seconds: float) -> None:
        with self.gate.slot(owner):
            self.order.append(owner)
            self.clock.now += seconds


def test_owners_take_turns() -> None:
    line = Line()
    with line.gate.slot("a"):
        for owner in "aaaabb":
            line.add(owner, 1)
    line.join()
    assert "".join(line.order) == "ababaa"


def test_three_long_pictures_of_one_user_delay_nineteen_of_another_by_one() -> None:
    line = Line()
    with line.gate.slot("bomber"):
        for _ in range(3):
            line.add("bomber", 100)
        for _ in range(19):
            line.add("other", 1)
    line.join()
    assert line.order[:20] == ["bomber", *["other"] * 19]


def test_time_away_gives_no_credit() -> None:
    line = Line()
    with line.gate.slot("a"):
        for owner in "aaaa":
            line.add(owner, 10)
        for owner in "bbbb":
            line.add(owner, 10)
    line.join()
    assert "".join(line.order) == "abababab"


def test_a_free_place_needs_no_waiting_and_as_many_are_inside_as_there_are_places() -> None:
    gate = FairGate(2)
    with gate.slot("a"), gate.slot("a"):
        thread = Thread(target=lambda: gate.slot("b").__enter__(), daemon=True)
        thread.start()
        wait_until(lambda: bool(gate._waiting))
    thread.join(30)
    assert not thread.is_alive()


def test_what_fails_gives_its_place_back() -> None:
    gate = FairGate(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), gate.slot("a"):
            raise ValueError("broken")
    assert not gate._used
