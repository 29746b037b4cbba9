"""When a delivery that failed is tried again. Pure."""

import random

MINUTE, HOUR = 60.0, 3600.0
#: Seconds after each failed attempt but the last, by Standard Webhooks 1.0: ten attempts in 76 hours.
DELAYS = (
    *(5.0, 5 * MINUTE, 30 * MINUTE),
    *(2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR),
)
#: Later by up to so much of a delay, so that those which failed together do not come back together.
JITTER = 0.2
#: Seconds for which an endpoint in trouble is left alone by its other deliveries, if it asks for no more.
LONGEST_PAUSE = 60.0


def delay_after(failures: int, retry_after: float | None) -> float | None:
    """Seconds from the failure with this number to the next attempt; None where that was the last.

    Never earlier than the receiver asked for by `Retry-After`.
    """
    if failures > len(DELAYS):
        return None
    delay = DELAYS[failures - 1] * random.uniform(1, 1 + JITTER)  # noqa: S311 (spreads load)
    return max(delay, retry_after or 0)


def pause_after(delay: float | None, retry_after: float | None) -> float:
    """Seconds for which an endpoint in trouble is left alone, its delivery being tried after `delay`."""
    return max(retry_after or 0, min(delay or LONGEST_PAUSE, LONGEST_PAUSE))
