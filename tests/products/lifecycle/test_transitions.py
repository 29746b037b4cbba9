import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from processing.work.claim import claim
from products import lifecycle
from products.lifecycle.signals import request_finished
from products.models import Image, Product, ProductImage, Request
from tests.support.batches import WORKER, chunk, complete, ingest, ingested, make_urls, settle, submitted
from tests.support.parallel import together

pytestmark = pytest.mark.django_db

OTHER_WORKER = uuid.UUID("00000000-0000-4000-8000-000000000002")
Status = Request.Status
Ending = tuple[uuid.UUID, int, str]


@pytest.fixture
def finished() -> Iterator[list[Ending]]:
    """Id, run and status of the Requests whose end was announced, in order."""
    endings: list[Ending] = []

    def note(batch: Request, **_: object) -> None:
        endings.append((batch.pk, batch.run, batch.status))

    request_finished.connect(note)
    yield endings
    request_finished.disconnect(note)


def working(count: int) -> Request:
    """An ingested Request with so many pending Images."""
    return ingested(*make_urls(count))


def claimed(batch: Request, count: int = 100, worker: uuid.UUID = WORKER) -> list[Image]:
    return claim(batch, worker, count)


def counters(batch: Request) -> dict[str, int]:
    batch.refresh_from_db()
    names = ("total", "completed", "failed", "canceled", "pending")
    return {name: count for name in names if (count := getattr(batch, f"images_{name}"))}


def rows_by_status(batch: Request) -> dict[str, int]:
    """What the counters have to agree with."""
    statuses = list(batch.images.values_list("status", flat=True))
    counts = {"total": len(statuses)} | {status: statuses.count(status) for status in Image.Status.values}
    return {name: count for name, count in counts.items() if count}


# --- Ingest ---


def test_a_url_that_is_shown_more_than_once_is_one_image_with_a_place_for_each_showing() -> None:
    chair, table = make_urls(2)
    batch = ingested([chair, table, chair], [chair], table)

    assert [image.url for image in batch.images.all()] == [chair, table]
    products = batch.products.with_images()
    assert [[image.url for image in product.images_in_order] for product in products] == [
        [chair, table, chair],
        [chair],
        [table],
    ]
    assert counters(batch) == {"total": 2, "pending": 2}


def test_images_are_numbered_in_the_order_in_which_they_first_appear_over_all_chunks() -> None:
    a, b, c, d = make_urls(4)
    batch = submitted([c, a], [a, b], [c, d], [b, a])
    assert lifecycle.ingest_chunk(batch, chunk(batch, 0, 2))
    assert lifecycle.ingest_chunk(batch, chunk(batch, 2))

    assert list(batch.images.values_list("number", "url")) == [(1, c), (2, a), (3, b), (4, d)]


def test_the_same_url_in_two_requests_is_two_images() -> None:
    first, second = working(1), working(1)
    assert first.images.get().pk != second.images.get().pk


def test_a_request_starts_to_be_processed_with_its_first_rows() -> None:
    batch = submitted(*make_urls(2))
    assert (batch.status, batch.started_at) == (Status.PENDING, None)
    lifecycle.ingest_chunk(batch, chunk(batch, 0, 1))
    batch.refresh_from_db()
    assert batch.status == Status.PROCESSING
    assert batch.started_at is not None
    assert not batch.ingested


def test_a_request_without_any_url_is_completed_at_once(finished: list[Ending]) -> None:
    batch = ingested([], [])
    assert (batch.status, batch.images_total) == (Status.COMPLETED, 0)
    assert batch.products.count() == 2
    assert finished == [(batch.pk, 1, Status.COMPLETED)]


def test_what_is_no_address_is_a_failed_image_from_the_start() -> None:
    batch = ingested("ftp://shop.example/1.jpg", "http://shop.example/2.jpg")
    image = batch.images.get(number=1)
    assert (image.status, image.error_code, image.attempts) == ("failed", "invalid_url", 0)
    assert "http://" in image.error_detail
    assert counters(batch) == {"total": 2, "failed": 1, "pending": 1}
    assert batch.status == Status.PROCESSING


def test_a_request_with_nothing_but_invalid_urls_is_failed(finished: list[Ending]) -> None:
    batch = ingested("chair.jpg", "table.jpg")
    assert counters(batch) == {"total": 2, "failed": 2}
    assert finished == [(batch.pk, 1, Status.FAILED)]


def test_rows_that_are_in_already_are_not_ingested_again() -> None:
    batch = submitted(*make_urls(3))
    rival = Request.objects.get(pk=batch.pk)
    assert lifecycle.ingest_chunk(batch, chunk(batch, 0, 2))
    assert not lifecycle.ingest_chunk(rival, chunk(batch, 0, 2))
    assert Product.objects.count() == 2


@pytest.mark.parametrize("end", [lifecycle.cancel, Request.new_epoch, lifecycle.delete])
def test_an_ingest_stops_when_its_epoch_is_over(end: Callable[[Request], object]) -> None:
    batch = submitted(*make_urls(2))
    end(Request.objects.get(pk=batch.pk))
    assert not lifecycle.ingest_chunk(batch, chunk(batch))
    assert not Product.objects.exists()


# --- Claim ---


def test_a_claim_takes_due_images_first_come_first_served() -> None:
    batch = working(5)
    batch.images.filter(number=4).update(due_at=timezone.now() - timedelta(days=1))
    assert [image.number for image in claimed(batch, 3)] == [4, 1, 2]
    assert [image.number for image in claimed(batch, 3)] == [3, 5]
    assert set(batch.images.values_list("claimed_by", flat=True)) == {WORKER}


def test_a_claim_leaves_what_is_not_due_or_in_other_hands_or_settled() -> None:
    batch = working(4)
    [mine] = claimed(batch, 1, OTHER_WORKER)
    batch.images.filter(number=2).update(due_at=timezone.now() + timedelta(minutes=1))
    batch.images.filter(number=3).update(status=Image.Status.FAILED)
    assert [image.number for image in claimed(batch)] == [4]
    mine.refresh_from_db()
    assert mine.claimed_by == OTHER_WORKER


def test_a_claim_takes_images_of_its_own_request_only() -> None:
    batch, other = working(2), working(2)
    assert len(claimed(batch)) == 2
    assert len(claimed(other)) == 2


def test_a_claim_takes_nothing_once_its_epoch_is_over_or_the_request_has_ended() -> None:
    batch = working(2)
    successor = Request.objects.get(pk=batch.pk)
    successor.new_epoch()
    assert claimed(batch) == []
    assert len(claimed(successor, 1)) == 1
    lifecycle.abort_ingest(successor, "The end.")
    assert claimed(successor) == []


def test_a_claim_leaves_images_of_busy_hosts() -> None:
    batch = ingested(*make_urls(2, "busy.example"), *make_urls(2, "idle.example:8080"))
    images = claim(batch, WORKER, 10, ["busy.example"])
    assert {image.host for image in images} == {"idle.example:8080"}
    assert len(claimed(batch)) == 2


@pytest.mark.django_db(transaction=True)
def test_an_image_is_never_claimed_twice() -> None:
    batch = ingested(*make_urls(1000))

    def claim_all(worker: uuid.UUID) -> list[uuid.UUID]:
        mine = []
        while images := claimed(batch, 7, worker):
            mine += [image.pk for image in images]
        return mine

    first, second = together([partial(claim_all, WORKER), partial(claim_all, OTHER_WORKER)])
    assert len(first) + len(second) == len({*first, *second})
    # A claimant that finds all rows of the moment locked ends early: what it leaves, the other one takes.
    assert len(first) + len(second) == 1000
    assert batch.images.filter(claimed_by=WORKER).count() == len(first)


def test_a_claim_costs_few_queries(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    batch = working(64)
    with django_assert_max_num_queries(4):
        assert len(claimed(batch, 64)) == 64


def test_a_claim_reads_its_index_and_never_the_whole_table() -> None:
    batches = [ingested(make_urls(2)) for _ in range(10)]
    now = timezone.now()
    Image.objects.bulk_create(
        Image(id=uuid.uuid4(), request=batch, number=number, host="shop.example", due_at=now)
        for batch in batches
        for number in range(3, 2003)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        for busy_hosts in [], ["busy.example", "other.example"]:
            with CaptureQueriesContext(connection) as queries:
                claim(batches[0], WORKER, 64, busy_hosts)
            select = next(query["sql"] for query in queries if "SKIP LOCKED" in query["sql"])
            cursor.execute(f"EXPLAIN {select}")
            plan = "\n".join(line for [line] in cursor.fetchall())
            assert "image_due" in plan
            assert "Seq Scan on products_image" not in plan
            assert "Sort" not in plan


# --- Record ---


def test_recorded_outcomes_are_stored_and_counted() -> None:
    batch = working(4)
    done, failed, later, _ = images = claimed(batch)
    complete(done)
    done.unchanged = True
    failed.attempts = 5
    failed.fail("timeout", "shop.example took longer than 30 seconds.")
    later.attempts = 1
    later.postpone(timedelta(seconds=5), "http_503", "shop.example answered 503.")
    assert lifecycle.record(batch.pk, images[:3], WORKER) == 3

    stored = {image.number: image for image in batch.images.all()}
    assert (stored[1].status, stored[1].output_key) == ("completed", done.output_key)
    assert (stored[1].source_bytes, stored[1].output_bytes) == (1000, 400)
    assert (stored[2].status, stored[2].error_code, stored[2].attempts) == ("failed", "timeout", 5)
    assert (stored[3].status, stored[3].error_code, stored[3].attempts) == ("pending", "http_503", 1)
    assert stored[3].due_at == later.due_at
    assert [stored[number].claimed_by for number in (1, 2, 3, 4)] == [None, None, None, WORKER]
    assert counters(batch) == {"total": 4, "completed": 1, "failed": 1, "pending": 2}
    assert (batch.images_unchanged, batch.bytes_source, batch.bytes_output) == (1, 1000, 400)
    assert batch.last_progress_at is not None


def test_an_outcome_never_changes_what_identifies_an_image() -> None:
    batch = working(1)
    [image] = claimed(batch)
    url = image.url
    image.url, image.number, image.crashes = "http://elsewhere.example/", 7, 9
    assert lifecycle.record(batch.pk, [complete(image)], WORKER) == 1
    stored = batch.images.get()
    assert (stored.url, stored.number, stored.crashes, stored.status) == (url, 1, 0, "completed")


def test_the_same_outcomes_flushed_twice_count_once() -> None:
    batch = working(3)
    images = [complete(image) for image in claimed(batch, 2)]
    assert lifecycle.record(batch.pk, images, WORKER) == 2
    assert lifecycle.record(batch.pk, images, WORKER) == 0
    assert counters(batch) == {"total": 3, "completed": 2, "pending": 1}
    assert batch.bytes_output == 800


def test_what_is_finished_after_a_cancel_is_not_counted(finished: list[Ending]) -> None:
    batch = working(3)
    images = [complete(image) for image in claimed(batch, 2)]
    lifecycle.record(batch.pk, images[:1], WORKER)
    assert Request.objects.get(pk=batch.pk).cancel()

    assert lifecycle.record(batch.pk, images[1:], WORKER) == 0
    assert counters(batch) == {"total": 3, "completed": 1, "canceled": 2}
    assert counters(batch) == rows_by_status(batch)
    assert finished == [(batch.pk, 1, Status.CANCELED)]


def test_an_outcome_of_a_worker_that_lost_its_claim_is_not_taken() -> None:
    batch = working(1)
    [image] = claimed(batch)
    assert Image.objects.filter(claimed_by=WORKER).release(crashed=True) == 1
    [again] = claimed(batch, worker=OTHER_WORKER)
    assert again.crashes == 1

    image.fail("timeout", "Too late.")
    assert lifecycle.record(batch.pk, [image], WORKER) == 0
    assert batch.images.get().claimed_by == OTHER_WORKER
    assert lifecycle.record(batch.pk, [complete(again)], OTHER_WORKER) == 1
    assert counters(batch) == {"total": 1, "completed": 1}


def test_an_outcome_for_a_removed_request_is_not_taken() -> None:
    batch = working(1)
    images = [complete(image) for image in claimed(batch)]
    Request.objects.get(pk=batch.pk).remove()
    assert lifecycle.record(batch.pk, images, WORKER) == 0
    assert not Image.objects.exists()


def test_a_flush_costs_few_queries(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    batch = working(65)
    images = [complete(image) for image in claimed(batch, 64)]
    with django_assert_max_num_queries(8):
        assert lifecycle.record(batch.pk, images, WORKER) == 64


def test_error_details_may_contain_what_the_database_cannot_store() -> None:
    batch = working(1)
    [image] = claimed(batch)
    image.fail("connect", "The answer was \0.")
    assert lifecycle.record(batch.pk, [image], WORKER) == 1
    assert batch.images.get().error_detail == "The answer was ."


# --- The end ---


@pytest.mark.parametrize(
    ("failed", "status"),
    [
        ({}, Status.COMPLETED),
        ({1: "http_404"}, Status.COMPLETED_WITH_ERRORS),
        ({1: "http_404", 2: "timeout"}, Status.FAILED),
    ],
)
def test_the_end_tells_how_much_went_well(
    failed: dict[int, str], status: str, finished: list[Ending]
) -> None:
    batch = settle(working(2), failed)
    assert batch.status == status
    assert batch.finished_at is not None
    assert finished == [(batch.pk, 1, status)]


def test_a_request_does_not_end_before_all_of_its_file_is_in(finished: list[Ending]) -> None:
    batch = submitted(*make_urls(3))
    lifecycle.ingest_chunk(batch, chunk(batch, 0, 2))
    settle(batch)
    assert (batch.status, batch.images_pending, finished) == (Status.PROCESSING, 0, [])

    lifecycle.ingest_chunk(batch, chunk(batch, 2))
    assert settle(batch).status == Status.COMPLETED
    assert len(finished) == 1


def test_a_receiver_of_the_end_that_fails_takes_the_flush_back_with_it() -> None:
    batch = working(1)
    images = [complete(image) for image in claimed(batch)]

    def refuse(**_: object) -> None:
        raise ArithmeticError

    request_finished.connect(refuse)
    try:
        with pytest.raises(ArithmeticError):
            lifecycle.record(batch.pk, images, WORKER)
    finally:
        request_finished.disconnect(refuse)
    assert counters(batch) == {"total": 1, "pending": 1}
    assert batch.images.get().claimed_by == WORKER

    assert lifecycle.record(batch.pk, images, WORKER) == 1
    assert counters(batch) == {"total": 1, "completed": 1}


def test_a_file_that_cannot_be_ingested_fails_the_request_once(finished: list[Ending]) -> None:
    batch = submitted(*make_urls(2))
    assert lifecycle.abort_ingest(batch, "It is gone. " * 100)
    assert not lifecycle.abort_ingest(batch, "It is still gone.")
    batch.refresh_from_db()
    assert batch.status == Status.FAILED
    assert batch.error.startswith("It is gone.")
    assert finished == [(batch.pk, 1, Status.FAILED)]


def test_the_remaining_time_follows_from_the_pace_of_this_run() -> None:
    batch = working(4)
    assert batch.eta_seconds is None
    lifecycle.record(batch.pk, [complete(image) for image in claimed(batch, 1)], WORKER)
    started = timezone.now() - timedelta(seconds=100)
    Request.objects.filter(pk=batch.pk).update(started_at=started)
    batch.refresh_from_db()
    assert batch.eta_seconds == pytest.approx(300, rel=0.1)
    assert settle(batch).eta_seconds is None


# --- Cancel, retry, remove ---


def test_a_cancel_keeps_what_is_done_and_stops_the_rest(finished: list[Ending]) -> None:
    batch = working(3)
    lifecycle.record(batch.pk, [complete(image) for image in claimed(batch, 1)], WORKER)
    claimed(batch, 1)
    assert lifecycle.cancel(batch)
    assert not lifecycle.cancel(batch)
    assert counters(batch) == {"total": 3, "completed": 1, "canceled": 2}
    assert not Image.objects.exclude(claimed_by=None).exists()
    assert finished == [(batch.pk, 1, Status.CANCELED)]


def test_a_finished_request_cannot_be_canceled() -> None:
    batch = settle(working(1))
    assert not lifecycle.cancel(batch)
    assert batch.status == Status.COMPLETED


def test_a_retry_takes_failed_and_canceled_images_again_as_new(finished: list[Ending]) -> None:
    batch = ingested("chair.jpg", *make_urls(4))
    first, second, third, _ = claimed(batch)
    first.attempts = 5
    first.fail("timeout", "Too slow.")
    second.fail("http_404", "Not there.")
    lifecycle.record(batch.pk, [first, second, complete(third)], WORKER)
    Request.objects.get(pk=batch.pk).cancel()
    batch.images.update(crashes=1)
    batch.refresh_from_db()

    assert lifecycle.retry(batch) == 3
    assert counters(batch) == {"total": 5, "completed": 1, "failed": 1, "pending": 3}
    assert counters(batch) == rows_by_status(batch)
    assert (batch.status, batch.run, batch.images_before_run) == (Status.PROCESSING, 2, 2)
    again = batch.images.get(pk=first.pk)
    assert (again.attempts, again.error_code, again.error_detail, again.crashes) == (0, "", "", 1)
    assert batch.finished_at is None

    assert settle(batch).status == Status.COMPLETED_WITH_ERRORS
    assert finished == [
        (batch.pk, 1, Status.CANCELED),
        (batch.pk, 2, Status.COMPLETED_WITH_ERRORS),
    ]


def test_a_retry_of_one_error_leaves_the_others() -> None:
    batch = settle(working(3), {1: "http_404", 2: "timeout"})
    assert lifecycle.retry(batch, "timeout") == 1
    assert list(batch.images.pending().values_list("number", flat=True)) == [2]
    assert counters(batch) == {"total": 3, "completed": 1, "failed": 1, "pending": 1}


def test_a_retry_never_takes_invalid_urls() -> None:
    batch = ingested("chair.jpg")
    assert lifecycle.retry(batch) == 0
    assert lifecycle.retry(batch, "invalid_url") == 0
    assert (batch.status, batch.run) == (Status.FAILED, 1)


def test_there_is_nothing_to_retry_while_a_request_is_active_or_where_all_went_well() -> None:
    batch = working(2)
    assert lifecycle.retry(batch) == 0
    assert settle(batch).retry() == 0
    batch.refresh_from_db()
    assert (batch.status, batch.run) == (Status.COMPLETED, 1)


def test_a_retry_of_a_request_that_was_canceled_during_ingest_takes_in_the_rest() -> None:
    batch = submitted(*make_urls(3))
    lifecycle.ingest_chunk(batch, chunk(batch, 0, 1))
    lifecycle.cancel(batch)
    batch.refresh_from_db()
    assert lifecycle.retry(batch) == 1
    batch.refresh_from_db()
    assert settle(ingest(batch)).status == Status.COMPLETED
    assert counters(batch) == {"total": 3, "completed": 3}


def test_what_a_retry_completes_late_from_before_a_cancel_counts_once() -> None:
    batch = working(1)
    [before] = claimed(batch)
    lifecycle.cancel(batch)
    batch.refresh_from_db()
    lifecycle.retry(batch)
    batch.refresh_from_db()
    [now] = claimed(batch)
    assert (
        lifecycle.record(batch.pk, [complete(before)], WORKER)
        + lifecycle.record(batch.pk, [complete(now)], WORKER)
        == 1
    )
    assert counters(batch) == {"total": 1, "completed": 1}


def test_a_removed_request_leaves_no_rows_and_others_theirs() -> None:
    kept, removed = working(2), ingested(make_urls(3), make_urls(2))
    claimed(removed, 1)
    lifecycle.delete(removed)
    assert list(Request.objects.all()) == [kept]
    assert set(Image.objects.values_list("request", flat=True)) == {kept.pk}
    assert set(Product.objects.values_list("request", flat=True)) == {kept.pk}
    assert ProductImage.objects.count() == 2


# --- Release, epochs, constraints ---


def test_a_release_gives_claims_back_and_counts_crashes_only_of_the_dead() -> None:
    batch = working(3)
    claimed(batch, 1)
    claimed(batch, 1, OTHER_WORKER)
    assert Image.objects.filter(claimed_by=WORKER).release(crashed=True) == 1
    assert Image.objects.filter(claimed_by=OTHER_WORKER).release(crashed=False) == 1
    assert list(batch.images.values_list("claimed_by", "crashes")) == [(None, 1), (None, 0), (None, 0)]
    assert {image.attempts for image in batch.images.all()} == {0}


@pytest.mark.django_db(transaction=True)
def test_a_release_leaves_what_is_being_flushed_at_the_moment() -> None:
    batch = working(2)
    first, _ = claimed(batch)
    with transaction.atomic():
        Image.objects.select_for_update().get(pk=first.pk)
        [released] = together([partial(Image.objects.filter(claimed_by=WORKER).release, crashed=True)])
    assert released == 1
    assert batch.images.get(claimed_by=WORKER) == first


def test_only_one_of_two_that_start_an_epoch_does() -> None:
    batch = submitted(*make_urls(1))
    rival = Request.objects.get(pk=batch.pk)
    before = rival.epoch
    batch.refresh_from_db()
    assert batch.new_epoch()
    assert not rival.new_epoch()
    batch.refresh_from_db()
    assert batch.epoch == before + 1


def test_a_request_that_has_ended_starts_no_epoch() -> None:
    batch = settle(working(1))
    assert not batch.new_epoch()


@pytest.mark.parametrize(
    "changes",
    [{"claimed_by": WORKER, "status": "failed"}, {"status": "completed"}, {"number": 1}],
)
def test_the_database_refuses_images_that_contradict_themselves(changes: dict[str, object]) -> None:
    batch = working(2)
    with pytest.raises(IntegrityError), transaction.atomic():
        batch.images.filter(number=2).update(**changes)


def test_the_database_refuses_more_outcomes_than_images() -> None:
    batch = working(2)
    with pytest.raises(IntegrityError), transaction.atomic():
        Request.objects.filter(pk=batch.pk).update(images_completed=2, images_failed=1)
