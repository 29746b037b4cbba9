"""Repairs of failures: retries, canceled retries, other URLs, pictures that are left out, runs."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from products import lifecycle
from products.catalogue import CatalogueError
from products.models import Image, Request
from products.models.states import Sweep
from tests.support.batches import (
    WORKER,
    claimed,
    complete,
    counters,
    fail,
    ingest,
    ingested,
    make_urls,
    settle,
)
from tests.support.factories import make_csv, make_user, submit

pytestmark = pytest.mark.django_db

Status = Request.Status


def failures(count: int = 4) -> Request:
    """Return a finished Request whose first picture is completed and whose others have failed."""
    return settle(ingested(*make_urls(count)), dict.fromkeys(range(2, count + 1), "http_404"))


def image(batch: Request, number: int) -> Image:
    return batch.images.get(number=number)


def outcome(image: Image) -> tuple[Any, ...]:
    names = ("status", "error_code", "error_detail", "attempts", "settled_at", "fetched_from", "host")
    return tuple(getattr(image, name) for name in names)


def runs(batch: Request) -> list[tuple[int, str, int, int, bool]]:
    fields = ("number", "by", "completed", "failed", "canceled")
    return list(batch.runs.values_list(*fields))


# --- A canceled retry ---


@pytest.mark.parametrize("sweep_rows", [5000, 2])
def test_a_canceled_retry_leaves_what_waited_as_it_was(
    sweep_rows: int, monkeypatch: pytest.MonkeyPatch, finished: list[tuple[object, ...]]
) -> None:
    monkeypatch.setattr("products.lifecycle.sweeps.SWEEP_ROWS", sweep_rows)
    batch = failures(6)
    before = {number: outcome(image(batch, number)) for number in range(1, 7)}
    assert lifecycle.retry(batch) == 5
    while lifecycle.sweep(batch):
        pass
    batch.refresh_from_db()
    repaired, failing, *_waiting = claimed(batch)
    lifecycle.record(batch.pk, [complete(repaired), fail(failing, "timeout", "Too slow.")], WORKER)
    assert lifecycle.cancel(batch)
    while lifecycle.sweep(batch):
        pass

    assert counters(batch) == {"total": 6, "completed": 2, "failed": 4}
    assert batch.status == Status.COMPLETED_WITH_ERRORS
    assert image(batch, 3).error_code == "timeout"
    assert {number: outcome(image(batch, number)) for number in (1, 4, 5, 6)} == {
        number: before[number] for number in (1, 4, 5, 6)
    }
    assert not Image.objects.exclude(claimed_by=None).exists()
    assert runs(batch) == [(1, "upload", 1, 5, False), (2, "retry", 2, 4, True)]
    assert finished == [(batch.pk, run, Status.COMPLETED_WITH_ERRORS) for run in (1, 2)]
    assert lifecycle.retry(batch) == 4


def test_a_canceled_retry_of_which_nothing_had_completed_has_failed_again() -> None:
    batch = settle(ingested(*make_urls(2)), {1: "timeout", 2: "timeout"})
    lifecycle.retry(batch)
    lifecycle.cancel(batch)
    assert counters(batch) == {"total": 2, "failed": 2}
    assert batch.status == Status.FAILED


def test_an_outcome_after_a_cancel_is_not_written_though_its_row_has_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("products.lifecycle.sweeps.SWEEP_ROWS", 2)
    batch = settle(ingested(*make_urls(6)), dict.fromkeys(range(1, 7), "http_404"))
    lifecycle.retry(batch)
    while lifecycle.sweep(batch):
        pass
    late = claimed(batch)
    lifecycle.cancel(batch)
    assert counters(batch) == {"total": 6, "failed": 2, "pending": 4}
    assert lifecycle.record(batch.pk, [complete(one) for one in late], WORKER) == []
    while lifecycle.sweep(batch):
        pass
    assert counters(batch) == {"total": 6, "failed": 6}
    assert batch.status == Status.FAILED
    assert runs(batch)[-1] == (2, "retry", 0, 6, True)


def test_what_a_cancel_left_is_canceled_again_when_its_retry_is_canceled() -> None:
    batch = ingested(*make_urls(3))
    lifecycle.record(batch.pk, [complete(one) for one in claimed(batch, 1)], WORKER)
    lifecycle.cancel(batch)
    lifecycle.retry(batch)
    lifecycle.cancel(batch)
    assert counters(batch) == {"total": 3, "completed": 1, "canceled": 2}
    assert batch.status == Status.CANCELED


# --- Retry ---


def test_a_retry_by_ids_takes_these_alone() -> None:
    batch = failures()
    ids = [image(batch, 2).pk, image(batch, 4).pk]
    assert lifecycle.retry(batch, ids=ids) == 2
    assert set(batch.images.pending().values_list("number", flat=True)) == {2, 4}
    assert counters(batch) == {"total": 4, "completed": 1, "failed": 1, "pending": 2}
    assert settle(batch).status == Status.COMPLETED_WITH_ERRORS


# --- Other URLs ---


def test_a_failed_picture_is_fetched_from_another_url_and_keeps_its_place() -> None:
    batch = failures(2)
    failed = image(batch, 2)
    assert lifecycle.fetch_from(batch, {failed.pk: "https://Other.example/2.jpg"}) == 1
    batch.refresh_from_db()
    (one,) = claimed(batch)
    assert (one.url, one.host) == ("https://Other.example/2.jpg", "other.example")
    assert settle_one(batch, one).status == Status.COMPLETED
    again = image(batch, 2)
    assert (again.url, again.fetched_from) == (failed.url, "https://Other.example/2.jpg")
    assert runs(batch)[-1] == (2, "replace", 2, 0, False)


def settle_one(batch: Request, one: Any) -> Request:
    lifecycle.record(batch.pk, [complete(one)], WORKER)
    batch.refresh_from_db()
    return batch


def test_a_canceled_correction_is_forgotten() -> None:
    batch = failures(2)
    before = outcome(image(batch, 2))
    lifecycle.fetch_from(batch, {image(batch, 2).pk: "https://other.example/2.jpg"})
    lifecycle.cancel(batch)
    assert outcome(image(batch, 2)) == before


@pytest.mark.parametrize("sweep_rows", [5000, 2])
def test_a_text_is_replaced_in_the_urls_of_failed_pictures(
    sweep_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("products.lifecycle.sweeps.SWEEP_ROWS", sweep_rows)
    batch = settle(
        ingested(*make_urls(6), "htp://shop.example/7.jpg"), dict.fromkeys(range(2, 7), "http_404")
    )
    tried = lifecycle.replace(batch, "shop.example", "cdn.example", dry_run=True)
    assert (tried.count, tried.invalid, len(tried.examples)) == (5, 1, 5)
    assert tried.examples[0] == ("http://shop.example/2.jpg", "http://cdn.example/2.jpg")
    batch.refresh_from_db()
    assert batch.status == Status.COMPLETED_WITH_ERRORS

    assert lifecycle.replace(batch, "shop.example", "cdn.example").count == 5
    while lifecycle.sweep(batch):
        pass
    assert counters(batch) == {"total": 7, "completed": 1, "failed": 1, "pending": 5}
    assert {one.url for one in claimed(batch)} == set(make_urls(6, "cdn.example")[1:])
    batch.images.update(claimed_by=None)
    assert settle(batch).status == Status.COMPLETED_WITH_ERRORS

    assert lifecycle.replace(batch, "htp:", "http:").count == 1
    batch.refresh_from_db()
    assert settle(batch).status == Status.COMPLETED


def test_a_replacement_that_gives_no_url_starts_no_run() -> None:
    batch = failures(2)
    found = lifecycle.replace(batch, "http", "ftp")
    assert (found.count, found.invalid) == (0, 1)
    assert lifecycle.replace(batch, "nowhere", "x").count == 0
    batch.refresh_from_db()
    assert (batch.status, batch.run) == (Status.COMPLETED_WITH_ERRORS, 1)


# --- Left out ---


def test_a_picture_that_is_left_out_is_not_counted_as_failed() -> None:
    batch = failures(2)
    assert lifecycle.set_ignored(batch, batch.images.filter(number=2), ignored=True)
    assert counters(batch) == {"total": 2, "completed": 1, "ignored": 1}
    assert batch.status == Status.COMPLETED
    assert not lifecycle.set_ignored(batch, batch.images.filter(number=2), ignored=True)
    assert not lifecycle.set_ignored(batch, batch.images.filter(number=1), ignored=True)
    assert lifecycle.set_ignored(batch, batch.images.filter(number=2), ignored=False)
    assert counters(batch) == {"total": 2, "completed": 1, "failed": 1}
    assert batch.status == Status.COMPLETED_WITH_ERRORS


# --- A corrected file ---


def corrected(*rows: tuple[Any, str, str]) -> Any:
    return ContentFile(make_csv(*rows), "corrected.csv")


def urls(batch: Request) -> dict[int, str]:
    """Return the URLs from which pending Images are fetched, by number."""
    return {one.number: one.source_url for one in batch.images.pending()}


def test_a_corrected_file_repairs_by_serial_number_and_place() -> None:
    first, second, third, fourth = make_urls(4)
    batch = settle(ingested([first, second], [third, fourth]), {2: "http_404", 4: "http_404"})
    file = corrected((1, "Renamed", f"{first},https://new.example/2.jpg"), (9, "Unknown", first))
    tried = lifecycle.correct(batch, file, dry_run=True)
    assert (tried.count, tried.unmatched, tried.examples) == (1, 1, [(second, "https://new.example/2.jpg")])
    assert urls(batch) == {}
    lifecycle.correct(batch, file)
    assert urls(batch) == {2: "https://new.example/2.jpg"}
    batch.refresh_from_db()
    assert (batch.status, batch.run, batch.run_by) == (Status.PROCESSING, 2, "replace")


def test_rows_of_one_serial_number_are_told_apart() -> None:
    batch = submitted_rows(("S", "a"), ("S", "b"), ("S", "c"), failed={2: "http_404", 3: "http_404"})
    b, new = "http://shop.example/b.jpg", "http://shop.example/new.jpg"
    found = lifecycle.correct(batch, corrected(("S", "x", b), ("S", "x", new)))
    assert (found.count, found.unmatched) == (1, 0)
    assert urls(batch) == {3: new}


def test_a_row_that_fits_several_changes_nothing() -> None:
    batch = submitted_rows(("S", "a"), ("S", "b"), failed={1: "http_404", 2: "http_404"})
    found = lifecycle.correct(batch, corrected(("S", "x", "http://shop.example/new.jpg")))
    assert (found.count, found.unmatched) == (0, 1)
    assert urls(batch) == {}


def test_a_whole_result_with_a_row_for_each_picture_is_matched() -> None:
    batch = submitted_rows(("S", "a"), ("S", "b"), ("S", "c"), ("T", "d"), failed={2: "http_404"})
    a, new, c, d = (f"http://shop.example/{name}.jpg" for name in ("a", "new", "c", "d"))
    found = lifecycle.correct(batch, corrected(("S", "x", a), ("S", "x", new), ("S", "x", c), ("T", "x", d)))
    assert (found.count, found.unmatched) == (1, 0)
    assert urls(batch) == {2: new}


def test_a_corrected_file_may_have_any_number_of_unchanged_rows_and_so_many_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("products.lifecycle.corrections.MAX_CORRECTIONS", 2)
    names = [f"p{number}" for number in range(1, 7)]
    batch = submitted_rows(*((name, name) for name in names), failed=dict.fromkeys(range(1, 7), "http_404"))

    def file(changed: int) -> Any:
        stems = [f"new{name}" if index < changed else name for index, name in enumerate(names)]
        rows = zip(names, names, (f"http://shop.example/{stem}.jpg" for stem in stems), strict=True)
        return corrected(*rows)

    with pytest.raises(CatalogueError, match="more than 2 pictures"):
        lifecycle.correct(batch, file(3))
    found = lifecycle.correct(batch, file(2))
    assert (found.count, found.unmatched) == (2, 0)
    assert set(urls(batch)) == {1, 2}


def test_a_url_that_the_request_has_already_corrects_another() -> None:
    a, b, c, new = (f"http://shop.example/{name}.jpg" for name in ("a", "b", "c", "new"))
    batch = submitted_rows(("S", "a"), ("S", "b"), ("S", "c"), failed={2: "http_404"})
    found = lifecycle.correct(batch, corrected(("S", "x", a), ("S", "x", a), ("S", "x", c)), dry_run=True)
    assert (found.count, found.unmatched, found.examples) == (1, 0, [(b, a)])
    found = lifecycle.correct(batch, corrected(("S", "x", a)), dry_run=True)
    assert (found.count, found.unmatched, found.examples) == (1, 0, [(b, a)])
    rows = (("S", "x", a), ("S", "x", a), ("S", "x", new), ("S", "x", c))
    found = lifecycle.correct(batch, corrected(*rows), dry_run=True)
    assert (found.count, found.unmatched) == (0, 2)


@pytest.mark.parametrize("count", [3, 30])
def test_rows_are_compared_in_as_many_queries_however_many_they_are(
    count: int, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    good, bad = ([f"{kind}{number}" for number in range(count)] for kind in ("good", "bad"))
    batch = submitted_rows(
        *(("S", name) for name in good + bad), failed=dict.fromkeys(range(count + 1, 2 * count + 1), "dns")
    )
    rows = [("S", "x", f"http://shop.example/{name}.jpg") for name in good + [f"new-{name}" for name in bad]]
    file = corrected(*rows)
    with django_assert_max_num_queries(8):
        found = lifecycle.correct(batch, file, dry_run=True)
    assert (found.count, found.unmatched) == (count, 0)


def submitted_rows(*rows: tuple[str, str], failed: dict[int, str]) -> Request:
    data = make_csv(*((serial, name, f"http://shop.example/{name}.jpg") for serial, name in rows))
    return settle(ingest(submit(make_user(), data)), failed)


# --- While at work, and runs ---


def test_nothing_is_repaired_while_a_run_is_at_work() -> None:
    batch = ingested(*make_urls(2))
    one = image(batch, 1)
    for repair in (
        lambda: lifecycle.retry(batch),
        lambda: lifecycle.retry(batch, ids=[one.pk]),
        lambda: lifecycle.replace(batch, "shop", "x"),
        lambda: lifecycle.fetch_from(batch, {one.pk: "http://x.example/"}),
        lambda: lifecycle.set_ignored(batch, batch.images.all()),
    ):
        with pytest.raises(lifecycle.StillActive):
            repair()


def test_each_run_is_kept_with_its_counts_and_times() -> None:
    batch = failures(3)
    lifecycle.retry(batch)
    batch.refresh_from_db()
    assert [(run.number, run.finished_at is None) for run in batch.all_runs] == [(1, False), (2, True)]
    settle(batch, {3: "timeout"})
    assert runs(batch) == [(1, "upload", 1, 2, False), (2, "retry", 2, 1, False)]
    times = [moment for run in batch.runs.all() for moment in (run.started_at, run.finished_at) if moment]
    assert len(times) == 4
    assert times == sorted(times)
    lifecycle.delete(batch)
    assert not Request.objects.filter(sweep=Sweep.DELETE).exists()


def test_hosts_that_pictures_wait_for_are_named_with_their_next_try() -> None:
    batch = ingested(*make_urls(3, "slow.example"), *make_urls(2, "down.example"))
    claimed(batch)
    by_host: dict[str, list[UUID]] = {}
    for found in batch.images.all():
        by_host.setdefault(found.host, []).append(found.pk)
    later = [
        lifecycle.Outcome.postponed(by_host["slow.example"][0], 1, 60, "http_429", "Too many requests."),
        lifecycle.Outcome.postponed(by_host["down.example"][0], 1, 20, "connect", "Refused."),
    ]
    lifecycle.record(batch.pk, later, WORKER)
    waiting = batch.images.waiting_by_host()
    assert [(host.host, host.code, host.images) for host in waiting] == [
        ("down.example", "connect", 2),
        ("slow.example", "http_429", 3),
    ]
    assert timedelta(seconds=0) < waiting[0].until - timezone.now() <= timedelta(seconds=20)


# --- What must not be repaired by mistake ---


def test_an_attempt_of_an_earlier_run_is_not_written_to_a_later_one() -> None:
    batch = failures(2)
    lifecycle.retry(batch)
    batch.refresh_from_db()
    (late,) = claimed(batch)
    run = batch.run
    lifecycle.cancel(batch)
    lifecycle.fetch_from(batch, {late.id: "https://other.example/2.jpg"})
    batch.refresh_from_db()
    (again,) = claimed(batch)
    assert lifecycle.record(batch.pk, [complete(late)], WORKER, run) == []
    assert image(batch, 2).status == Image.Status.PENDING
    assert len(lifecycle.record(batch.pk, [complete(again)], WORKER, batch.run)) == 1


def test_only_a_whole_retry_follows_a_cancel_before_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("products.lifecycle.sweeps.SWEEP_ROWS", 2)
    batch = ingested(*make_urls(6))
    lifecycle.record(batch.pk, [fail(one, "http_404") for one in claimed(batch, 1)], WORKER)
    lifecycle.cancel(batch)
    with pytest.raises(lifecycle.StillActive):
        lifecycle.fetch_from(batch, {image(batch, 1).pk: "https://other.example/new.jpg"})
    with pytest.raises(lifecycle.StillActive):
        lifecycle.retry(batch, [("http_404", "")])
    assert lifecycle.retry(batch) == 6


def test_a_text_that_only_looks_alike_is_not_replaced() -> None:
    batch = failures(2)
    assert lifecycle.replace(batch, "JPG", "png").count == 0
    assert lifecycle.replace(batch, "jpg", "jpg").count == 0
    batch.refresh_from_db()
    assert batch.run == 1


def test_rows_without_serial_numbers_are_matched_by_number_in_a_whole_result_only() -> None:
    data = b"Product Name,Input Image Urls\nLamp,http://shop.example/1.jpg\nChair,http://shop.example/2.jpg\n"
    batch = settle(ingest(submit(make_user(), data)), {2: "http_404"})
    failed_only = b"Product Name,Input Image Urls\nChair,http://shop.example/new.jpg\n"
    with pytest.raises(CatalogueError, match="no serial numbers"):
        lifecycle.correct(batch, ContentFile(failed_only, "failed.csv"))
    whole = ContentFile(data.replace(b"2.jpg", b"new.jpg"), "result.csv")
    assert lifecycle.correct(batch, whole).count == 1
    assert urls(batch) == {2: "http://shop.example/new.jpg"}
