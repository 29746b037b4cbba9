"""Headers of answers."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

LONGEST_RETRY_AFTER = 24 * 60 * 60.0


def retry_after(response: httpx.Response) -> float | None:
    """The seconds that `Retry-After` asks for, whether as a number or as a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        seconds = float(value)
    else:
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
