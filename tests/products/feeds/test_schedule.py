"""Schedules over 400 days by a clock of the test's own, in zones with and without summer time."""

import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from products.feeds.schedule import check_schedule, next_moment, time_zones

NEW_YORK, BERLIN = "America/New_York", "Europe/Berlin"
DAYS = 400
#: The days on which New York and Berlin change their clocks within the 400 days.
CHANGES = {
    NEW_YORK: (date(2026, 3, 8), date(2026, 11, 1)),
    BERLIN: (date(2026, 3, 29), date(2026, 10, 25)),
}


def moments(schedule: str, zone: str, start: date = date(2026, 1, 1), days: int = DAYS) -> list[datetime]:
    """Return all moments of a schedule within these days of the zone, as its clock shows them."""

    def found() -> Iterator[datetime]:
        clock = ZoneInfo(zone)
        moment = datetime.combine(start, datetime.min.time(), clock).astimezone(UTC) - timedelta(
            microseconds=1
        )
        end = datetime.combine(start + timedelta(days=days), datetime.min.time(), clock)
        while (moment := next_moment(schedule, zone, moment)) < end:
            yield moment.astimezone(clock)

    return list(found())


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("schedule", ["30 2 * * *", "0 2 * * *", "0 3 * * *", "59 1 * * *", "30 1 * * *"])
def test_a_daily_run_comes_once_a_day_whatever_the_clock_does(zone: str, schedule: str) -> None:
    found = moments(schedule, zone)
    assert len(found) == DAYS
    assert [moment.date() for moment in found] == [date(2026, 1, 1) + timedelta(days=n) for n in range(DAYS)]


@pytest.mark.parametrize(
    ("zone", "left_out", "doubled"),
    [
        (NEW_YORK, "2026-03-08T03:00:00-04:00", "2026-11-01T01:30:00-04:00"),
        (BERLIN, "2026-03-29T03:00:00+02:00", "2026-10-25T02:30:00+02:00"),
    ],
)
def test_a_left_out_time_runs_at_the_next_moment_and_a_doubled_one_at_its_first(
    zone: str, left_out: str, doubled: str
) -> None:
    spring, autumn = CHANGES[zone]
    by_day = {moment.date(): moment.isoformat() for moment in moments("30 2 * * *", zone)}
    assert by_day[spring] == left_out
    schedule = "30 1 * * *" if zone == NEW_YORK else "30 2 * * *"
    by_day = {moment.date(): moment.isoformat() for moment in moments(schedule, zone)}
    assert by_day[autumn] == doubled


@pytest.mark.parametrize("zone", CHANGES)
def test_an_hourly_run_leaves_out_the_hour_that_is_left_out_and_the_second_of_two(zone: str) -> None:
    spring, autumn = CHANGES[zone]
    found = moments("0 * * * *", zone)
    assert len(found) == len(set(found)) == DAYS * 24 - 1
    counts = {day: sum(moment.date() == day for moment in found) for day in (spring, autumn)}
    assert counts == {spring: 23, autumn: 24}


def test_in_utc_every_hour_has_its_run() -> None:
    found = moments("15 * * * *", "UTC")
    assert len(found) == DAYS * 24
    assert {later - earlier for earlier, later in itertools.pairwise(found)} == {timedelta(hours=1)}


def test_a_moment_in_the_second_of_two_equal_hours_is_followed_by_one_after_it() -> None:
    second = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 2:10 in Berlin for the second time
    assert next_moment("30 2 * * *", BERLIN, second) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert next_moment("*/30 * * * *", BERLIN, second) == datetime(2026, 10, 25, 2, 0, tzinfo=UTC)


def test_the_moment_itself_does_not_come_again() -> None:
    moment = datetime(2026, 5, 1, 2, 30, tzinfo=UTC)
    assert next_moment("30 2 * * *", "UTC", moment) == moment + timedelta(days=1)
    assert next_moment("30 2 * * *", "UTC", moment - timedelta(microseconds=1)) == moment


def test_both_kinds_of_days_restricted_either_counts() -> None:
    found = moments("0 12 13 * FRI", "UTC", days=31)  # January 2026: Fridays and the 13th, a Tuesday
    assert [moment.day for moment in found] == [2, 9, 13, 16, 23, 30]


@pytest.mark.parametrize("schedule", ["0 0 * * 7", "0 0 * * 0", "0 0 * * sun", "0 0 * JAN Sun"])
def test_sunday_has_three_names(schedule: str) -> None:
    assert [moment.day for moment in moments(schedule, "UTC", days=31)] == [4, 11, 18, 25]


def test_a_leap_day_is_found_years_ahead() -> None:
    assert next_moment("0 0 29 2 *", "UTC", datetime(2026, 1, 1, tzinfo=UTC)).year == 2028


def test_a_time_zone_that_left_out_a_whole_day() -> None:
    found = moments("0 12 * * *", "Pacific/Apia", date(2011, 12, 29), 3)
    assert [moment.isoformat() for moment in found] == [
        "2011-12-29T12:00:00-10:00",
        "2011-12-31T00:00:00+14:00",
        "2011-12-31T12:00:00+14:00",
    ]


@pytest.mark.parametrize(
    "schedule",
    [
        *("", "*", "* * * *", "* * * * * *", "@daily", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *"),
        *("* * * * 8", "x * * * *", "*/0 * * * *", "5-1 * * * *", "1, * * * *", "-1 * * * *", "1.5 * * * *"),
        *("0 0 30 2 *", "0 0 31 4,6,9,11 *", "* * * * MON-", "٣ * * * *", "0 0 * * " + "1," * 100 + "1"),
    ],
)
def test_what_is_no_schedule_or_never_comes_is_refused_with_a_sentence(schedule: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        check_schedule(schedule)


def test_spaces_are_made_single() -> None:
    assert check_schedule("  0   2 *  * mon-fri ") == "0 2 * * mon-fri"


def test_time_zones_are_those_of_iana() -> None:
    assert {NEW_YORK, BERLIN, "UTC"} <= time_zones()
