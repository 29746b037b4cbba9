"""Effort of fuzz tests: few examples, the same in each `make test`; new ones for a time in `make fuzz`."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

Test = TypeVar("Test", bound=Callable[..., None])

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
EXAMPLES = 1000 if SECONDS else 100
#: The tests that share the seconds.
_tests: list[Callable[..., None]] = []
#: No measure of speed, since an example takes milliseconds: what counts as a hang.
HANGS_AFTER = timedelta(seconds=20)


def timed(test: Test) -> Test:
    """Mark a test that takes its share of the seconds by itself."""
    _tests.append(test)
    return test


def seconds_each() -> float:
    """Return the share of each test."""
    return SECONDS / len(_tests)


def fuzz(
    examples: int = EXAMPLES, **strategies: SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Make a test of what is true for whatever these strategies make up, each by its argument's name.

    `examples` is how many are tried at least; fewer than usual where each takes long.
    """

    def decorate(test: Callable[..., None]) -> Callable[[], None]:
        try_examples = settings(
            max_examples=examples,
            deadline=HANGS_AFTER,
            derandomize=not SECONDS,  # `make test` tries the same every time
            database=None,  # what it finds becomes a test of its own
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            print_blob=True,
        )(given(**strategies)(test))

        _tests.append(test)

        def try_on() -> None:
            ends_at = time.monotonic() + seconds_each()
            try_examples()
            while time.monotonic() < ends_at:
                try_examples()

        try_on.__doc__ = test.__doc__
        return try_on

    return decorate
