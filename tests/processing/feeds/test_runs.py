"""Runs of feeds: fetched from a real origin, submitted, skipped, retried, held, and begun once."""

import gzip
import io
import uuid
import zipfile
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest import MonkeyPatch
from pytest_django import Settings

from processing.feeds import attempt as attempts
from processing.feeds import source, tasks
from processing.feeds.attempt import attempt
from processing.timing import FETCH_LOST_AFTER, RETRY_DELAYS_SECONDS
from processing.work.pipeline import Pipeline
from processing.workers.models import Worker
from processing.workers.recovery import recover, take_over
from products import lifecycle
from products.catalogue.xlsx import package
from products.feeds import runs
from products.feeds.models import Feed, FeedRun, FeedRunStatus
from products.feeds.signals import alerted
from products.models import Profile, Request, RunOrigin
from products.models.files import StorageUnavailable
from tests.processing.conftest import Broker
from tests.support.factories import JPEG, make_csv, make_user, make_workbook, settle
from tests.support.factories import URL as PICTURE
from tests.support.factories import ingest as ingested
from tests.support.feeds import WORKER, completed, make_feed, submitted
from tests.support.origin import Answer, Handler, Origin
from tests.support.parallel import Threads, together

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("loopback", "broker", "no_worker"),
]
CATALOGUE = make_csv()
GONE = Answer(status=404)


@pytest.fixture
def loopback(settings: Settings) -> None:
    settings.FETCH_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]


@pytest.fixture
def ann() -> User:
    return make_user()


@pytest.fixture
def alerts(monkeypatch: MonkeyPatch) -> list[str]:
    """The events that owners are told of."""
    told: list[str] = []

    def tell(event: str, **_kwargs: Any) -> None:
        told.append(event)

    monkeypatch.setattr(alerted, "receivers", [*alerted.receivers])
    alerted.sender_receivers_cache.clear()
    alerted.connect(tell, weak=False)
    return told


def fetched(feed: Feed) -> FeedRun:
    """A run after one attempt to fetch it."""
    started = runs.start(feed)
    assert started
    return tried(started)


def tried(run: FeedRun) -> FeedRun:
    """The same run after another attempt, which is due at once."""
    FeedRun.objects.filter(pk=run.pk).update(due_at=timezone.now())
    claimed = runs.claim(run.pk, WORKER, 1)
    assert claimed
    attempt(claimed)
    return FeedRun.objects.select_related("feed", "request").get(pk=run.pk)


def finished(run: FeedRun, result: bytes | str = JPEG) -> FeedRun:
    """The same run, whose Request has finished."""
    assert run.request
    settle(ingested(run.request), {PICTURE: result})
    return FeedRun.objects.select_related("feed", "request").get(pk=run.pk)


def zipped(method: int = zipfile.ZIP_DEFLATED, /, **files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


# --- The file ---


def test_a_file_is_fetched_and_becomes_a_request(ann: User, origin: Origin) -> None:
    feed = make_feed(ann, url=origin.add("/spring.csv", CATALOGUE), headers={"X-Shop": "7"})
    run = fetched(feed)
    batch = run.request
    assert batch and run.status == FeedRunStatus.PROCESSING and run.claimed_by is None
    assert (batch.owner, batch.filename, batch.run_by) == (ann, "spring.csv", RunOrigin.FEED)
    with batch.source.open("rb") as file:
        assert file.read() == CATALOGUE
    assert origin.received[0].headers["x-shop"] == "7"
    run = finished(run)
    assert (run.status, run.products, run.images, run.images_failed) == ("completed", 1, 1, 0)
    assert run.finished_at and run.bytes_output
    assert batch.runs.get().by == RunOrigin.FEED


def test_a_run_has_the_options_of_the_profile(ann: User, origin: Origin) -> None:
    options = {"quality": 60, "renditions": [{"name": "thumb", "width": 10}], "strict": True}
    profile = Profile.objects.create(owner=ann, name="shop", options=options)
    batch = fetched(make_feed(ann, url=origin.add("/a.csv", CATALOGUE), profile=profile)).request
    assert batch and batch.profile == profile
    assert {name: getattr(batch, name) for name in options} == options
    refused = make_csv((1, "Chair", "no URL"))
    run = fetched(make_feed(ann, url=origin.add("/b.csv", refused), profile=profile))
    assert run.status == FeedRunStatus.FAILED and run.error.startswith("Line 2: ")


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("spring.csv.gz", gzip.compress(CATALOGUE)),
        ("spring.csv.gz", gzip.compress(CATALOGUE[:20]) + gzip.compress(CATALOGUE[20:])),
        ("spring.csv.zip", zipped(inside=CATALOGUE, **{"__MACOSX/inside": b"x", "folder/": b""})),
        ("spring.csv", gzip.compress(CATALOGUE)),
    ],
    ids=["gzip", "two members", "zip", "gzip by content"],
)
def test_a_packed_file_is_unpacked(ann: User, origin: Origin, name: str, packed: bytes) -> None:
    batch = fetched(make_feed(ann, url=origin.add(f"/{name}", packed))).request
    assert batch and batch.filename == "spring.csv"
    with batch.source.open("rb") as file:
        assert file.read() == CATALOGUE


def test_a_gzip_of_very_many_members_takes_no_longer_than_one_of_its_size() -> None:
    members = gzip.compress(b"") * 500_000  # copies of the rest of the file for each would be 2.5 TB
    assert source._unpacked(members + gzip.compress(CATALOGUE), 5_000) == CATALOGUE


def test_a_zip_that_lists_many_files_is_refused_before_the_list_is_read(monkeypatch: MonkeyPatch) -> None:
    many = zipped(**{f"file-{number}": b"" for number in range(100)})
    monkeypatch.setattr(package, "MAX_DIRECTORY_BYTES", 1_000)
    with pytest.raises(source.UnpackError, match="The ZIP has too many files"):
        source._unpacked(many, 5_000)


def test_a_workbook_is_no_archive(ann: User, origin: Origin) -> None:
    book = make_workbook(["Serial Number", "Input Image Urls"], [1, PICTURE])
    batch = fetched(make_feed(ann, url=origin.add("/spring.xlsx", book))).request
    assert batch and batch.filename == "spring.xlsx"


@pytest.mark.parametrize(
    ("packed", "error"),
    [
        (zipped(a=b"1", b=b"2"), "The ZIP has 2 files. It must have one."),
        (zipped(), "This is not a CSV file."),
        (zipped(a=CATALOGUE)[:-30], "The archive cannot be unpacked"),
        (gzip.compress(CATALOGUE)[:-12], "The archive cannot be unpacked: it ends early."),
        (gzip.compress(bytes(10_000)), "The unpacked file is larger than the limit of 5 KB."),
        (zipped(a=bytes(10_000)), "The unpacked file is larger than the limit of 5 KB."),
        (zipped(zipfile.ZIP_BZIP2, a=CATALOGUE), "it is compressed by another method than Deflate."),
        (zipped(zipfile.ZIP_LZMA, a=CATALOGUE), "it is compressed by another method than Deflate."),
        (b"Name\nChair\n", "No column with picture URLs"),
        (bytes(6_000), "sent more than 0.005 MB."),
        (b"", "sent an empty response."),
    ],
    ids=[
        "two files",
        "no file",
        "damaged zip",
        "damaged gzip",
        "gzip bomb",
        "bomb",
        "bzip2",
        "lzma",
        "columns",
        "size",
        "empty",
    ],
)
def test_what_cannot_be_read_is_a_failed_run_with_a_sentence(
    ann: User, origin: Origin, settings: Settings, packed: bytes, error: str
) -> None:
    settings.UPLOAD_MAX_BYTES = 5_000
    run = fetched(make_feed(ann, url=origin.add("/spring.csv", packed)))
    assert (run.status, run.request) == (FeedRunStatus.FAILED, None)
    assert error in run.error
    assert run.finished_at
    assert not Request.objects.exists()


def test_headers_do_not_follow_a_redirect_to_another_host(ann: User, origin: Origin) -> None:
    with Origin() as other:
        there = other.add("/b.csv", CATALOGUE)
        away = Answer(status=302, headers={"Location": there})
        home = Answer(status=302, headers={"Location": origin.add("/c.csv", away)})
        feed = make_feed(ann, url=origin.add("/a.csv", home), headers={"Authorization": "Basic x"})
        assert fetched(feed).request
        assert [one.headers.get("authorization") for one in origin.received] == ["Basic x", "Basic x"]
        assert [one.headers.get("authorization") for one in other.received] == [None]


def test_the_headers_of_a_feed_replace_those_of_the_client(ann: User, origin: Origin) -> None:
    fetched(
        make_feed(ann, url=origin.add("/a.csv", CATALOGUE), headers={"user-agent": "shop", "Accept": "x"})
    )
    (received,) = origin.received
    assert (received.headers["user-agent"], received.headers["accept"]) == ("shop", "x")


def test_a_catalogue_is_asked_for_as_one(ann: User, origin: Origin) -> None:
    fetched(make_feed(ann, url=origin.add("/a.csv", CATALOGUE)))
    (received,) = origin.received
    accepted = received.headers["accept"].split(",")
    assert {"text/csv", "application/xml", "application/json"} < {*accepted}
    assert accepted[-1] == "*/*;q=0.8" and not any(one.startswith("image/") for one in accepted)


def test_a_private_address_is_refused(ann: User, origin: Origin, settings: Settings) -> None:
    settings.FETCH_ALLOWED_NETWORKS = []
    run = fetched(make_feed(ann, url=origin.add("/a.csv", CATALOGUE)))
    assert run.status == FeedRunStatus.FAILED and "private network" in run.error
    assert not origin.received


# --- Unchanged ---


def conditional(body: bytes = CATALOGUE, etag: str = '"1"') -> Any:
    """A route that answers 304 to whoever has its version."""

    def answer(handler: Handler) -> None:
        known = handler.received.headers.get("if-none-match") == etag
        handler.answer(Answer(b"" if known else body, 304 if known else 200, {"ETag": etag}))

    return answer


@pytest.mark.parametrize("route", [conditional(), Answer(CATALOGUE)], ids=["304", "same bytes"])
def test_an_unchanged_file_is_skipped_where_the_feed_says_so(ann: User, origin: Origin, route: Any) -> None:
    feed = make_feed(ann, url=origin.add("/a.csv", route), when_unchanged="skip")
    finished(fetched(feed))
    feed.refresh_from_db()
    for _ in range(2):
        run = fetched(feed)
        assert (run.status, run.request, run.error) == (FeedRunStatus.UNCHANGED, None, "")
    assert Request.objects.count() == 1
    assert feed.latest


def test_an_unchanged_file_is_run_otherwise(ann: User, origin: Origin) -> None:
    feed = make_feed(ann, url=origin.add("/a.csv", conditional()))
    finished(fetched(feed))
    feed.refresh_from_db()
    assert finished(fetched(feed)).status == FeedRunStatus.COMPLETED
    assert Request.objects.count() == 2


@pytest.mark.parametrize("change", ["bytes", "url", "headers", "options", "failed", "deleted", "held"])
def test_a_file_is_not_skipped_unless_all_is_the_same(ann: User, origin: Origin, change: str) -> None:
    feed = make_feed(ann, url=origin.add("/a.csv", conditional()), when_unchanged="skip")
    run = finished(fetched(feed), "http_404" if change == "failed" else JPEG)
    feed.refresh_from_db()
    if change == "bytes":
        origin.add("/a.csv", conditional(CATALOGUE + b'2,Table,""\n', '"2"'))
    elif change == "url":
        feed.url = origin.add("/b.csv", conditional())
    elif change == "headers":
        feed.headers = {"X-Shop": "7"}
    elif change == "options":
        feed.profile = Profile.objects.create(owner=ann, name="shop", options={"quality": 60})
    elif change == "deleted":
        assert run.request
        lifecycle.delete(run.request)
        Request.objects.all().delete()
    elif change == "held":
        FeedRun.objects.update(status=FeedRunStatus.HELD)
    feed.save()
    assert fetched(feed).status == FeedRunStatus.PROCESSING


def test_a_file_is_run_again_after_its_request_was_deleted(ann: User, origin: Origin) -> None:
    feed = make_feed(ann, url=origin.add("/a.csv", CATALOGUE), when_unchanged="skip")
    finished(fetched(feed))
    origin.add("/a.csv", CATALOGUE + b'2,Table,""\n')
    second = finished(fetched(feed)).request
    assert second and feed.latest == second
    lifecycle.delete(second)
    assert feed.latest != second
    feed.refresh_from_db()
    assert fetched(feed).status == FeedRunStatus.PROCESSING


def test_without_a_profile_the_one_with_the_header_of_the_file_is_used(ann: User, origin: Origin) -> None:
    header = CATALOGUE.decode().splitlines()[0].split(",")
    profile = Profile.objects.create(owner=ann, name="shop", header=header, options={"quality": 60})
    feed = make_feed(ann, url=origin.add("/a.csv.gz", gzip.compress(CATALOGUE)), when_unchanged="skip")
    first = finished(fetched(feed)).request
    assert first and (first.profile, first.quality) == (profile, 60)
    feed.refresh_from_db()
    assert fetched(feed).status == FeedRunStatus.UNCHANGED
    profile.options = {"quality": 70}
    profile.save()
    second = fetched(feed).request
    assert second and second.quality == 70


# --- Failures ---


def test_a_failed_fetch_is_tried_five_times_as_a_picture_is(
    ann: User, origin: Origin, alerts: list[str]
) -> None:
    feed = make_feed(ann, url=origin.add("/a.csv", Answer(status=500)))
    run = fetched(feed)
    for attempts_made, seconds in enumerate(RETRY_DELAYS_SECONDS, 1):
        assert (run.status, run.attempts, run.claimed_by) == (FeedRunStatus.FETCHING, attempts_made, None)
        assert "500" in run.error
        delay = (run.due_at - timezone.now()).total_seconds()
        assert delay < 1.2 * seconds
        assert not alerts
        run = tried(run)
    assert run.status == FeedRunStatus.FAILED
    assert run.error == "127.0.0.1 answered 500 Internal Server Error."
    assert len(origin.received) == 5 and alerts == ["feed.failed"]


def test_a_fetch_that_succeeds_later_has_no_error_left(ann: User, origin: Origin) -> None:
    feed = make_feed(ann, url=origin.add("/a.csv", Answer(status=503)))
    run = fetched(feed)
    assert run.error
    origin.add("/a.csv", CATALOGUE)
    run = tried(run)
    assert (run.status, run.error) == (FeedRunStatus.PROCESSING, "")


def test_a_permanent_failure_is_not_tried_again(ann: User, origin: Origin) -> None:
    run = fetched(make_feed(ann, url=origin.add("/a.csv", GONE)))
    assert (run.status, run.error) == (FeedRunStatus.FAILED, "127.0.0.1 answered 404 Not Found.")


def test_a_host_that_asks_to_wait_costs_no_attempt_for_a_day(ann: User, origin: Origin) -> None:
    busy = Answer(status=429, headers={"Retry-After": "120"})
    run = fetched(make_feed(ann, url=origin.add("/a.csv", busy)))
    assert (run.status, run.attempts) == (FeedRunStatus.FETCHING, 0)
    assert timedelta(seconds=100) < run.due_at - timezone.now() < timedelta(seconds=121)
    FeedRun.objects.update(started_at=timezone.now() - timedelta(hours=25))
    assert tried(run).status == FeedRunStatus.FAILED


def test_storage_that_is_down_costs_no_attempt(ann: User, origin: Origin, monkeypatch: MonkeyPatch) -> None:
    def down(*_args: Any, **_options: Any) -> None:
        raise StorageUnavailable

    monkeypatch.setattr(lifecycle, "submit", down)
    run = fetched(make_feed(ann, url=origin.add("/a.csv", CATALOGUE)))
    assert (run.status, run.attempts) == (FeedRunStatus.FETCHING, 0)
    assert run.error == StorageUnavailable.detail


def test_an_internal_error_counts_an_attempt(ann: User, origin: Origin, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_submit", lambda run, fetched: 1 / 0)
    run = fetched(make_feed(ann, url=origin.add("/a.csv", CATALOGUE)))
    assert (run.status, run.attempts) == (FeedRunStatus.FETCHING, 1)


def test_a_user_with_too_much_open_work_waits(ann: User, origin: Origin, settings: Settings) -> None:
    settings.OPEN_ACCESS, settings.USER_MAX_OPEN_REQUESTS = False, 0
    run = fetched(make_feed(ann, url=origin.add("/a.csv", CATALOGUE)))
    assert (run.status, run.attempts) == (FeedRunStatus.FETCHING, 0)
    assert "unfinished requests" in run.error and not origin.received


def test_headers_that_cannot_be_decrypted_are_said(ann: User, settings: Settings) -> None:
    feed = make_feed(ann, headers={"X-Shop": "7"})
    settings.SECRET_KEY = "another"
    run = fetched(feed)
    assert (run.status, run.error) == (FeedRunStatus.FAILED, attempts.UNREADABLE_HEADERS)


def test_a_worker_taken_for_dead_submits_nothing(ann: User, origin: Origin) -> None:
    feed = make_feed(ann, url=origin.add("/a.csv", CATALOGUE))
    started = runs.start(feed)
    assert started
    claimed = runs.claim(started.pk, WORKER, 1)
    assert claimed
    runs.release([])
    attempt(claimed)
    assert not Request.objects.exists()
    assert FeedRun.objects.get().status == FeedRunStatus.FETCHING


# --- The guard ---


def rows(count: int) -> bytes:
    return make_csv(*((number, "Chair", f"{PICTURE}?{number}") for number in range(count)))


def run_of(feed: Feed, count: int, failed: int = 0) -> FeedRun:
    """A finished run of so many rows with a picture each, of which some failed."""
    outcomes: dict[str, bytes | str] = {f"{PICTURE}?{number}": JPEG for number in range(count)}
    outcomes |= {f"{PICTURE}?{number}": "http_404" for number in range(failed)}
    return completed(feed, outcomes, rows(count))


@pytest.mark.parametrize(
    ("before", "after", "held"),
    [
        ((300, 0), (3, 0), True),
        ((40, 0), (20, 0), True),
        ((40, 0), (21, 0), False),
        ((40, 0), (40, 2), False),  # 5 %
        ((40, 0), (40, 3), True),
        ((40, 2), (40, 4), False),  # twice as many
        ((40, 2), (40, 5), True),
        ((40, 30), (40, 39), False),
        ((2, 0), (40, 0), False),
    ],
    ids=str,
)
def test_a_result_like_that_of_a_broken_export_is_held(
    ann: User, alerts: list[str], before: tuple[int, int], after: tuple[int, int], held: bool
) -> None:
    feed = make_feed(ann)
    first = run_of(feed, *before)
    assert first.status in FeedRun.GOOD and not first.error
    run = run_of(feed, *after)
    feed.refresh_from_db()
    assert (run.status == FeedRunStatus.HELD) == held
    assert bool(run.error) == held
    assert alerts == ["feed.held"] * held
    assert feed.latest == (first if held else run).request
    assert runs.confirm(feed) == held
    assert feed.latest == run.request


def test_an_export_with_3_rows_of_3000_is_held_until_it_is_confirmed(ann: User, alerts: list[str]) -> None:
    feed = make_feed(ann)
    whole = completed(feed, {PICTURE: JPEG}, make_csv(*((n, "Chair", PICTURE) for n in range(3000))))
    run = completed(feed, {PICTURE: JPEG}, make_csv(*((n, "Chair", PICTURE) for n in range(3))))
    assert (run.status, run.error) == (FeedRunStatus.HELD, "The file has 3 rows; the last one had 3,000.")
    assert feed.latest == whole.request and alerts == ["feed.held"]
    assert runs.confirm(Feed.objects.get()) and feed.latest == run.request


@pytest.mark.parametrize(
    ("before", "failed", "held"),
    [
        ([4, 0, 0, 0, 4], 4, True),  # 1.6 on average
        ([8, 0], 3, True),  # 4 on average, but none in the last one
        ([0, 8], 9, True),
        ([8, 8], 9, False),
        ([30, 2, 2, 2, 2, 3], 5, True),  # the first one is too long ago
    ],
    ids=str,
)
def test_failures_are_compared_with_the_last_good_run_and_the_mean_of_five(
    ann: User, before: list[int], failed: int, held: bool
) -> None:
    feed = make_feed(ann)
    for number in before:
        run = run_of(feed, 40, number)
        FeedRun.objects.filter(pk=run.pk).update(status=FeedRunStatus.COMPLETED_WITH_ERRORS)
    run = run_of(feed, 40, failed)
    assert (run.status == FeedRunStatus.HELD) == held
    if held:
        usual = "0 did in the last run." if before[-1] == 0 else "on average."
        assert f"{failed} pictures failed; " in run.error and usual in run.error


def test_a_held_run_does_not_keep_the_next_one_from_its_turn(ann: User) -> None:
    feed = make_feed(ann)
    run_of(feed, 40)
    assert run_of(feed, 3).status == FeedRunStatus.HELD
    assert run_of(feed, 4).status == FeedRunStatus.HELD  # compared with the last good one
    good = run_of(feed, 41)
    assert good.status == FeedRunStatus.COMPLETED
    feed.refresh_from_db()
    assert feed.latest == good.request
    assert not runs.confirm(feed)


def test_a_retry_of_a_request_changes_the_status_of_its_run(ann: User) -> None:
    feed = make_feed(ann)
    run = run_of(feed, 4, 1)
    assert (run.status, run.images_failed) == ("completed_with_errors", 1)
    assert run.request
    lifecycle.retry(run.request)
    run.request.refresh_from_db()
    settle(run.request, {f"{PICTURE}?0": JPEG})
    run.refresh_from_db()
    assert (run.status, run.images_failed) == ("completed", 0)


def test_a_retry_of_a_held_run_corrects_its_counts_and_holds_it_on(ann: User) -> None:
    feed = make_feed(ann)
    run_of(feed, 40)
    run = run_of(feed, 40, 3)
    assert run.request and run.status == FeedRunStatus.HELD
    lifecycle.retry(run.request)
    run.request.refresh_from_db()
    settle(run.request, {f"{PICTURE}?{number}": JPEG for number in range(3)})
    run.refresh_from_db()
    assert (run.status, run.images_failed) == (FeedRunStatus.HELD, 0)
    assert run.error and runs.confirm(feed)
    run.refresh_from_db()
    assert (run.status, run.error) == (FeedRunStatus.COMPLETED, "")


def test_a_failed_run_is_held_if_a_retry_makes_it_like_a_broken_export(ann: User, alerts: list[str]) -> None:
    feed = make_feed(ann)
    good = run_of(feed, 40)
    run = run_of(feed, 3, 3)
    assert run.request and run.status == FeedRunStatus.FAILED
    lifecycle.retry(run.request)
    run.request.refresh_from_db()
    settle(run.request, {f"{PICTURE}?{number}": JPEG for number in range(3)})
    run.refresh_from_db()
    assert run.status == FeedRunStatus.HELD and feed.latest == good.request
    assert alerts == ["feed.failed", "feed.held"]
    assert runs.confirm(Feed.objects.get()) and feed.latest == run.request


def test_a_request_that_is_deleted_at_work_ends_its_run(ann: User) -> None:
    feed = make_feed(ann)
    run, batch = submitted(feed)
    lifecycle.delete(batch)
    recover()
    run.refresh_from_db()
    assert run.status == FeedRunStatus.CANCELED
    assert runs.start(feed)


# --- The schedule ---


def due_feed(owner: User, **fields: Any) -> Feed:
    now = timezone.now() - timedelta(seconds=1)
    return make_feed(owner, **{"schedule": "0 2 * * *", "next_run_at": now, **fields})


@pytest.mark.parametrize(
    ("zone", "changes"),
    [
        ("America/New_York", ("2026-03-08", "2026-11-01")),
        ("Europe/Berlin", ("2026-03-29", "2026-10-25")),
    ],
)
def test_by_a_clock_of_400_days_a_nightly_feed_has_400_runs(
    ann: User, monkeypatch: MonkeyPatch, zone: str, changes: tuple[str, str]
) -> None:
    start = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    day = timedelta(days=1)
    feed = make_feed(ann, schedule="30 2 * * *", time_zone=zone)
    Feed.objects.update(next_run_at=feed.next_after(start))
    clock = start
    monkeypatch.setattr(timezone, "now", lambda: clock)
    started = 0
    days: list[str] = []
    while clock < start + 400 * day:
        offsets = {(clock + days).astimezone(ZoneInfo(zone)).utcoffset() for days in (-day, day)}
        clock += timedelta(hours=12 if len(offsets) == 1 else 2)  # often where an hour is missing or repeated
        if tasks.start_due():
            started += 1
            days.append(clock.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d"))
            FeedRun.objects.active().update(status=FeedRunStatus.COMPLETED)
    assert started == len(set(days)) == 400
    assert [days.count(day) for day in changes] == [1, 1]


def test_a_machine_that_slept_makes_one_run_and_says_that_it_is_late(ann: User, alerts: list[str]) -> None:
    feed = due_feed(ann, next_run_at=timezone.now() - timedelta(days=7))
    assert tasks.start_due() == 1
    assert alerts == ["feed.missed"]
    feed.refresh_from_db()
    assert feed.next_run_at and feed.next_run_at > timezone.now()
    assert tasks.start_due() == 0
    assert FeedRun.objects.get().scheduled


def test_a_run_that_is_due_while_another_is_under_way_waits_and_is_told_once_after_an_hour(
    ann: User, alerts: list[str]
) -> None:
    feed = due_feed(ann)
    run = runs.start(feed)
    assert run
    assert tasks.start_due() == 0
    assert not alerts
    Feed.objects.update(next_run_at=timezone.now() - timedelta(hours=2))
    assert tasks.start_due() == tasks.start_due() == 0
    assert alerts == ["feed.missed"]
    FeedRun.objects.update(status=FeedRunStatus.FAILED)
    assert tasks.start_due() == 1
    assert alerts == ["feed.missed"]


def test_a_feed_that_cannot_be_begun_does_not_keep_others_from_their_turn(ann: User) -> None:
    broken, feed = due_feed(ann, time_zone="Europe/Atlantis"), due_feed(ann)
    Feed.objects.filter(pk=broken.pk).update(next_run_at=timezone.now() - timedelta(days=1))
    assert tasks.start_due() == 1
    assert FeedRun.objects.get().feed == feed


def test_a_disabled_feed_does_not_run(ann: User) -> None:
    due_feed(ann, enabled=False, next_run_at=None)
    assert tasks.start_due() == 0


@pytest.mark.sample("rounds")
@pytest.mark.parametrize("rounds", [20, 200])
def test_of_two_workers_one_starts_a_feed_that_is_due(ann: User, rounds: int) -> None:
    feed = due_feed(ann)
    with Threads(2) as workers:
        for number in range(1, rounds + 1):
            Feed.objects.update(next_run_at=timezone.now() - timedelta(seconds=1))
            assert sorted(workers.together([tasks.start_due, tasks.start_due])) == [0, 1]
            assert FeedRun.objects.count() == number
            FeedRun.objects.active().update(status=FeedRunStatus.COMPLETED)
    assert feed.runs.count() == rounds


def test_a_run_by_hand_and_one_by_schedule_do_not_overlap(ann: User) -> None:
    feed = due_feed(ann)
    for _ in range(10):
        Feed.objects.update(next_run_at=timezone.now() - timedelta(seconds=1))
        together([lambda: bool(runs.start(feed)), lambda: bool(tasks.start_due())])
        assert FeedRun.objects.active().count() == 1
        FeedRun.objects.active().update(status=FeedRunStatus.COMPLETED)


# --- Workers ---


def test_a_recovery_round_starts_what_is_due_and_sends_its_message(ann: User, broker: Broker) -> None:
    due_feed(ann)
    recover()
    run = FeedRun.objects.get()
    assert broker.feeds() == [str(run.pk)]
    recover()
    assert broker.feeds() == [str(run.pk)]


def test_a_lost_message_is_sent_again(ann: User, broker: Broker) -> None:
    run = runs.start(make_feed(ann))
    assert run
    broker.flush_all()
    recover()
    assert broker.feeds() == []
    FeedRun.objects.update(enqueued_at=timezone.now() - 2 * FETCH_LOST_AFTER)
    recover()
    assert broker.feeds() == [str(run.pk)]


def test_the_run_of_a_dead_worker_is_fetched_again_until_three_have_died(
    ann: User, broker: Broker, alerts: list[str]
) -> None:
    run = runs.start(make_feed(ann))
    assert run
    living = Worker.objects.create()
    for deaths in (1, 2):
        assert runs.claim(run.pk, uuid.uuid4(), 1)
        broker.flush_all()
        recover()
        run.refresh_from_db()
        assert (run.status, run.claimed_by, run.crashes) == (FeedRunStatus.FETCHING, None, deaths)
        assert broker.feeds() == [str(run.pk)]
    assert runs.claim(run.pk, living.pk, 1)
    recover()
    run.refresh_from_db()
    assert run.claimed_by == living.pk
    take_over()
    run.refresh_from_db()
    assert (run.status, run.error) == (FeedRunStatus.FAILED, runs.CRASHED)
    assert alerts == ["feed.failed"]


def test_a_worker_that_stops_gives_its_run_back_without_harm(ann: User) -> None:
    run = runs.start(make_feed(ann))
    assert run
    assert runs.claim(run.pk, WORKER, 1)
    runs.give_back(WORKER)
    run.refresh_from_db()
    assert (run.claimed_by, run.crashes) == (None, 0)


def test_the_actor_fetches_once_whatever_messages_come(
    ann: User, origin: Origin, pipeline: Pipeline, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr("processing.work.pipeline._current", pipeline)
    feed = make_feed(ann, url=origin.add("/a.csv", CATALOGUE))
    run = runs.start(feed)
    assert run
    together([lambda: tasks.fetch_feed(str(run.pk))] * 4)
    tasks.fetch_feed(str(run.pk))
    assert len(origin.received) == Request.objects.count() == 1


def test_a_user_has_two_fetches_at_a_time_and_others_follow(ann: User, broker: Broker) -> None:
    started = [runs.start(make_feed(ann)) for _ in range(3)]
    bob = runs.start(make_feed(make_user("bob")))
    first, second, third = (run.pk for run in started if run)
    assert bob
    assert runs.claim(first, WORKER, tasks.MAX_FETCHES_PER_OWNER)
    assert runs.claim(second, WORKER, tasks.MAX_FETCHES_PER_OWNER)
    assert not runs.claim(third, WORKER, tasks.MAX_FETCHES_PER_OWNER)
    assert runs.claim(bob.pk, WORKER, tasks.MAX_FETCHES_PER_OWNER)
    broker.flush_all()
    tasks.enqueue_waiting()
    assert broker.feeds() == [str(third)]
