"""Schedules: five cron fields in a time zone. Pure: no Django, no I/O.

cronsim finds the times on the clock of the zone; this module says which moments they are on the days on which
that clock is changed.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

FIELDS = 5
MAX_SCHEDULE_CHARACTERS = 100
_EXAMPLE = "Use five fields: minute, hour, day of the month, month and day of the week, such as 30 2 * * *."
_MINUTE = timedelta(minutes=1)


@cache
def time_zones() -> frozenset[str]:
    """Return the names of all time zones."""
    return frozenset(available_timezones())


def check_schedule(schedule: str) -> str:
    """Return a schedule with single spaces. Raises ValueError with a sentence if it never comes."""
    fields = schedule.split()
    if len(fields) != FIELDS or len(schedule) > MAX_SCHEDULE_CHARACTERS:
        raise ValueError(_EXAMPLE)
    try:
        next(CronSim(" ".join(fields), datetime(2000, 1, 1)))  # naive as all times on a clock are
    except CronSimError as error:
        field = re.sub("^Bad ", "", str(error)).replace("-", " ")
        raise ValueError(f"The {field} is not valid, or there is no such day. {_EXAMPLE}") from error
    except StopIteration as error:
        raise ValueError("There is no such day within fifty years.") from error
    return " ".join(fields)


def next_moment(schedule: str, time_zone: str, after: datetime) -> datetime:
    """Return the first moment after `after` at which a valid schedule is due, in UTC.

    A time that the clock of the zone leaves out is due at the next moment that exists; one that it shows
    twice, at the first.
    """
    zone = ZoneInfo(time_zone)
    on_clock = after.astimezone(zone).replace(tzinfo=None)
    # In the second of two equal hours, times that are still to come on the clock have passed already.
    return next(moment for moment in _moments(schedule, zone, on_clock) if moment > after)


def _moments(schedule: str, zone: ZoneInfo, on_clock: datetime) -> Iterator[datetime]:
    """Yield the moments of the times after `on_clock` that match the schedule."""
    for time in CronSim(schedule, on_clock):
        moment = time.replace(tzinfo=zone)
        while moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment.replace(tzinfo=None):
            moment += _MINUTE  # a left-out time: the clock jumps over it by whole minutes
        yield moment.astimezone(UTC)
