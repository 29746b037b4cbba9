from contextlib import ExitStack

from processing.work.thread_shares import ThreadShares


def test_the_last_idle_thread_is_for_an_owner_who_occupies_none() -> None:
    shares = ThreadShares(4)
    with ExitStack() as stack:
        assert [stack.enter_context(shares.thread_for("ann")) for _ in range(4)] == [True, True, True, False]
        assert stack.enter_context(shares.thread_for("ben"))
        assert stack.enter_context(shares.thread_for("eve")), "a thread was free, or this would not run"
        assert not stack.enter_context(shares.thread_for("ben"))
    assert [held(shares, "ann") for _ in range(3)] == [True] * 3, "what ended is free again"


def test_one_thread_serves_any_owner() -> None:
    shares = ThreadShares(1)
    assert held(shares, "ann") and held(shares, "ann") and held(shares, "ben")


def held(shares: ThreadShares, owner: str) -> bool:
    with shares.thread_for(owner) as may_work:
        return may_work
