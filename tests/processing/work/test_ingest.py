import logging
from collections.abc import Iterator
from threading import enumerate as living_threads

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connection
from pytest import LogCaptureFixture, MonkeyPatch

from processing.work import ingest as ingestion
from processing.work import lane, tasks
from processing.work.tasks import dispatch
from products import lifecycle
from products.catalogue import Catalogue, Row
from products.lifecycle import ingest as inserting
from products.models import Image, Product, ProductImage, Request
from tests.processing.conftest import Broker
from tests.support.batches import catalogue, counters, ingest, make_urls, submitted

pytestmark = pytest.mark.django_db

Status = Request.Status


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "CHUNK_ROWS", 2)


def contents(batch: Request) -> list[tuple[int, list[tuple[int, str]]]]:
    """Row numbers, each with number and URL of its images."""
    products = batch.products.with_images()
    return [
        (product.row_number, [(image.number, image.url) for image in product.images_in_order])
        for product in products
    ]


def reading() -> list[str]:
    """The threads that read ahead."""
    return [thread.name for thread in living_threads() if thread.name.startswith("ingest")]


def test_a_file_goes_in_by_chunks_of_rows() -> None:
    batch = submitted(*make_urls(5))
    steps = [(complete, Request.objects.get().ingested_rows) for complete in ingestion.run(batch)]
    assert steps == [(False, 2), (False, 4), (True, 5)]
    assert contents(batch) == [(number, [(number, url)]) for number, url in enumerate(make_urls(5), 1)]


def test_the_first_chunk_is_smaller_so_that_work_begins(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "FIRST_CHUNK_ROWS", 1)
    batch = submitted(*make_urls(5))
    assert [Request.objects.get().ingested_rows for _ in ingestion.run(batch)] == [1, 3, 5]


def test_rows_with_many_urls_make_smaller_chunks(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "CHUNK_ROWS", 100)
    monkeypatch.setattr(ingestion, "CHUNK_IMAGES", 3)
    batch = submitted(make_urls(2), make_urls(2), make_urls(1), make_urls(3))
    assert [Request.objects.get().ingested_rows for _ in ingestion.run(batch)] == [2, 4]
    assert batch.images_total == 3


# --- A row with very many URLs ---


@pytest.fixture
def small_parts(monkeypatch: MonkeyPatch) -> None:
    """Parts of a row with 3 Images or 6 places at most."""
    monkeypatch.setattr(ingestion, "CHUNK_IMAGES", 3)
    monkeypatch.setattr(ingestion, "PLACES_PER_IMAGE", 2)


#: A row, one with 10 distinct URLs of 20, and another row, which shows some of them again.
GIANT = (make_urls(1), make_urls(10) + make_urls(10)[::-1], [*make_urls(2), "http://shop.example/new.jpg"])


def giant_contents() -> list[tuple[int, list[tuple[int, str]]]]:
    """Rows as `contents` returns them, when everything is in."""
    numbers = {url: number for number, url in enumerate(make_urls(10), 1)} | {GIANT[2][2]: 11}
    return [(row, [(numbers[url], url) for url in urls]) for row, urls in enumerate(GIANT, 1)]


@pytest.mark.usefixtures("small_parts")
def test_a_row_with_very_many_urls_goes_in_by_parts_its_images_first() -> None:
    batch = submitted(*GIANT)
    steps = [
        (complete, Request.objects.get().ingested_rows, Image.objects.count(), ProductImage.objects.count())
        for complete in ingestion.run(batch)
    ]
    row_by_row = [(False, 1, 1, 1)]
    images = [(False, 1, count, 1) for count in (4, 7, 10)]
    places = [(False, 1, 10, 1 + count) for count in (6, 12, 18)] + [(False, 2, 10, 21)]
    assert steps == [*row_by_row, *images, *places, (True, 3, 11, 24)]
    assert contents(batch) == giant_contents()


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("steps_before", range(1, 9))
def test_an_ingest_that_was_killed_within_such_a_row_goes_on_and_inserts_nothing_twice(
    steps_before: int,
) -> None:
    first = ingestion.run(submitted(*GIANT))
    for _ in range(steps_before):
        next(first)
    first.close()
    batch = ingest(Request.objects.get())
    assert contents(batch) == giant_contents()
    assert counters(batch) == {"total": 11, "pending": 11}


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("ahead", range(1, 9))
def test_of_two_ingests_of_such_a_row_nothing_is_inserted_twice(ahead: int) -> None:
    batch = submitted(*GIANT)
    one, other = ingestion.run(batch), ingestion.run(Request.objects.get())
    for _ in range(ahead):
        next(one)
    ended = 0
    while ended < 2:  # in turns
        ended = sum(next(steps, None) is None for steps in (other, one))
    assert contents(batch) == giant_contents()
    assert counters(batch) == {"total": 11, "pending": 11}


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("steps_before", range(1, 9))
def test_a_cancel_within_such_a_row_stops_the_ingest_and_settles_its_images(steps_before: int) -> None:
    steps = ingestion.run(submitted(*GIANT))
    for _ in range(steps_before):
        next(steps)
    lifecycle.cancel(batch := Request.objects.get())
    there = Image.objects.count()
    assert list(steps) == []
    assert counters(batch) == {"total": there, "canceled": there}


@pytest.mark.usefixtures("small_parts")
def test_each_slice_comes_further_within_such_a_row_and_lanes_start_with_the_first(
    broker: Broker, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "INGEST_SECONDS", -1)  # one part at a time
    batch = submitted(*GIANT[1:])
    sent = []
    while not Request.objects.get().ingested:
        broker.flush_all()
        tasks.ingest.fn(str(batch.pk), 1)
        sent.append(broker.counts())
    assert sent == [{"work": lane.LANES, "ingest": 1}, *[{"ingest": 1}] * 7, {}]


def test_on_sqlite_others_can_write_between_two_chunks(monkeypatch: MonkeyPatch, broker: Broker) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("processing.work.tasks.time.sleep", pauses.append)
    batch = submitted(*make_urls(5))
    tasks.ingest.fn(str(batch.pk), 1)
    assert contents(batch)[-1][0] == 5
    assert pauses == [tasks.WRITE_PAUSE_SECONDS] * (2 if connection.vendor == "sqlite" else 0)


def test_an_ingest_goes_on_where_the_last_one_stopped() -> None:
    submitted(make_urls(3), make_urls(1), make_urls(4), make_urls(2), make_urls(5))
    slices = 0
    while not (batch := Request.objects.get()).ingested:
        next(ingestion.run(batch))
        slices += 1
    assert slices == 3
    assert [len(places) for _, places in contents(batch)] == [3, 1, 4, 2, 5]
    assert list(batch.images.values_list("number", "url")) == list(enumerate(make_urls(5), 1))


def test_a_chunk_that_fails_leaves_nothing_and_is_taken_up_again(monkeypatch: MonkeyPatch) -> None:
    batch = submitted(*make_urls(4))
    steps = ingestion.run(batch)
    next(steps)
    with monkeypatch.context() as patch, pytest.raises(ArithmeticError):
        patch.setattr(inserting, "_insert_images", lambda *_: 1 / 0)
        next(steps)
    assert (Product.objects.count(), Image.objects.count()) == (2, 2)
    assert reading() == []

    batch = ingest(Request.objects.get())
    assert (batch.ingested_rows, batch.images_total) == (4, 4)
    assert len(contents(batch)) == 4


@pytest.mark.parametrize("end", [lifecycle.cancel, dispatch, lifecycle.delete])
def test_an_ingest_ends_with_its_epoch(end: object) -> None:
    batch = submitted(*make_urls(5))
    steps = ingestion.run(batch)
    next(steps)
    end(Request.objects.get())  # type: ignore[operator]
    assert list(steps) == []
    assert Image.objects.filter(number__gt=2).count() == 0


def test_a_stored_file_that_has_vanished_fails_the_request_and_says_why(caplog: LogCaptureFixture) -> None:
    batch = submitted(*make_urls(2))
    storages["uploads"].delete(str(batch.source))
    assert list(ingestion.run(batch)) == []
    batch.refresh_from_db()
    assert batch.status == Status.FAILED
    assert "stored catalogue could not be read" in batch.error
    assert [record.name for record in caplog.records if record.levelno == logging.ERROR] == [
        "processing.work.ingest"
    ]


def test_a_stored_file_that_has_become_shorter_fails_the_request_and_says_why() -> None:
    batch = submitted(*make_urls(5))
    storages["uploads"].delete(str(batch.source))
    storages["uploads"].save(str(batch.source), ContentFile(catalogue(*make_urls(3))))
    assert list(ingestion.run(batch)) == [False, False]
    batch.refresh_from_db()
    assert batch.status == Status.FAILED
    assert "stored catalogue could not be read" in batch.error


def test_a_stored_file_that_breaks_off_in_the_middle_fails_the_request_after_what_could_be_read() -> None:
    batch = submitted(*make_urls(5))
    storages["uploads"].delete(str(batch.source))
    broken = catalogue(*make_urls(3)) + b'4,"Product'
    storages["uploads"].save(str(batch.source), ContentFile(broken))
    assert list(ingestion.run(batch)) == [False]
    batch.refresh_from_db()
    assert (batch.status, batch.ingested_rows) == (Status.FAILED, 2)
    assert "never closed" in batch.error
    assert reading() == []


def test_an_error_in_reading_ahead_is_raised_once_what_came_before_is_in(monkeypatch: MonkeyPatch) -> None:
    batch, read = submitted(*make_urls(5)), Catalogue.rows

    def stumbling(self: Catalogue, after: int = 0) -> Iterator[Row]:
        for row in read(self, after):
            if row.number > 3:
                raise ArithmeticError
            yield row

    monkeypatch.setattr(Catalogue, "rows", stumbling)
    steps = ingestion.run(batch)
    assert next(steps) is False
    with pytest.raises(ArithmeticError):
        next(steps)
    batch.refresh_from_db()
    assert (batch.status, batch.ingested_rows) == (Status.PROCESSING, 2)
    assert reading() == []


def test_one_chunk_is_read_ahead_and_no_more(monkeypatch: MonkeyPatch) -> None:
    numbers: list[int] = []
    batch, read = submitted(*make_urls(9)), Catalogue.rows

    def noting(self: Catalogue, after: int = 0) -> Iterator[Row]:
        for row in read(self, after):
            numbers.append(row.number)
            yield row

    monkeypatch.setattr(Catalogue, "rows", noting)
    steps = ingestion.run(batch)
    next(steps)
    steps.close()  # waits for what is under way
    assert numbers == [1, 2, 3, 4]
    assert reading() == []
