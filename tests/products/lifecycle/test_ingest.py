"""Inserting the rows of a catalogue, chunk by chunk, and failing a Request whose file cannot be read."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from processing.work.tasks import dispatch
from products import lifecycle
from products.catalogue import Row
from products.lifecycle import Chunk
from products.models import Image, Product, Request
from tests.support.batches import chunk, counters, ingested, make_urls, submitted, working

pytestmark = pytest.mark.django_db

Status = Request.Status
#: Text that COPY would interpret, and text that could be mistaken for such.
ODD_TEXTS = [
    "\\N",
    "\\.",
    "a\tb",
    "c\\d",
    "\\",
    "\\n",
    "e\nf",
    "g\r\nh",
    "\v\b\f",
    "i\u2028j",
    'k"l',
    "ü😀",
    " m ",
    "",
]


# --- Rows ---


def test_texts_are_inserted_unchanged() -> None:
    batch = submitted(*["http://shop.example/1.jpg"] * len(ODD_TEXTS))
    rows = [
        Row(number, number, [odd, odd], "", odd, odd, [f"http://shop.example/{number}{odd}"])
        for number, odd in enumerate(ODD_TEXTS, 1)
    ]
    assert lifecycle.ingest_chunk(batch, Chunk.of(batch.pk, rows))
    products = batch.products.with_images()
    assert [(product.serial_number, product.product_name, product.cells) for product in products] == [
        (odd, odd, [odd, odd]) for odd in ODD_TEXTS
    ]
    assert [[image.url for image in product.images_in_order] for product in products] == [
        row.image_urls for row in rows
    ]


def test_inserted_images_have_the_defaults_of_the_model() -> None:
    batch = submitted(["http://shop.example/1.jpg", "HTTP://shop.example:80/2.jpg"], "chair.jpg")
    assert lifecycle.ingest_chunk(batch, chunk(batch))
    good, other, bad = batch.images.order_by("number")
    made = Image(request=batch, due_at=batch.created_at)
    different = {"id", "number", "url", "host", "status", "error_code", "error_detail", "settled_at"}
    for image in good, other, bad:
        for field in Image._meta.concrete_fields:
            if field.attname not in different:
                assert getattr(image, field.attname) == getattr(made, field.attname), field.attname
    assert [image.host for image in (good, other, bad)] == ["shop.example", "shop.example", ""]
    assert [image.status for image in (good, other, bad)] == ["pending", "pending", "failed"]
    assert bad.error_code == "invalid_url"
    assert bad.error_detail
    assert bad.settled_at is not None


def test_a_repeated_url_is_one_image_with_a_place_for_each_repetition() -> None:
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


def test_images_are_numbered_by_first_appearance_across_chunks() -> None:
    a, b, c, d = make_urls(4)
    batch = submitted([c, a], [a, b], [c, d], [b, a])
    assert lifecycle.ingest_chunk(batch, chunk(batch, 0, 2))
    assert lifecycle.ingest_chunk(batch, chunk(batch, 2))

    assert list(batch.images.values_list("number", "url")) == [(1, c), (2, a), (3, b), (4, d)]
    assert counters(batch) == {"total": 4, "pending": 4}


def test_the_same_url_in_two_requests_is_two_images() -> None:
    first, second = working(1), working(1)
    assert first.images.get().pk != second.images.get().pk


def test_an_invalid_url_is_a_failed_image_from_the_start() -> None:
    batch = ingested("ftp://shop.example/1.jpg", "http://shop.example/2.jpg")
    image = batch.images.get(number=1)
    assert (image.status, image.error_code, image.attempts) == ("failed", "invalid_url", 0)
    assert "http://" in image.error_detail
    assert counters(batch) == {"total": 2, "failed": 1, "pending": 1}
    assert batch.status == Status.PROCESSING


def test_the_number_of_statements_does_not_depend_on_the_size_of_the_chunk() -> None:
    counts = []
    for size in 3, 300:
        batch = submitted(*make_urls(2 * size))
        lifecycle.ingest_chunk(batch, chunk(batch, 0, size))
        with CaptureQueriesContext(connection) as queries:
            lifecycle.ingest_chunk(batch, chunk(batch, size))
        counts.append(len(queries))
    assert counts[0] == counts[1]


# --- Status ---


def test_a_request_is_processing_from_its_first_chunk_on() -> None:
    batch = submitted(*make_urls(2))
    assert (batch.status, batch.started_at) == (Status.PENDING, None)
    lifecycle.ingest_chunk(batch, chunk(batch, 0, 1))
    batch.refresh_from_db()
    assert batch.status == Status.PROCESSING
    assert batch.started_at is not None
    assert not batch.ingested


def test_a_request_without_urls_completes_at_once(finished: list[tuple[object, ...]]) -> None:
    batch = ingested([], [])
    assert (batch.status, batch.images_total) == (Status.COMPLETED, 0)
    assert batch.products.count() == 2
    assert finished == [(batch.pk, 1, Status.COMPLETED)]


def test_a_request_with_only_invalid_urls_fails(finished: list[tuple[object, ...]]) -> None:
    batch = ingested("chair.jpg", "table.jpg")
    assert counters(batch) == {"total": 2, "failed": 2}
    assert finished == [(batch.pk, 1, Status.FAILED)]


# --- Races and aborts ---


def test_rows_are_ingested_only_once() -> None:
    batch = submitted(*make_urls(3))
    rival = Request.objects.get(pk=batch.pk)
    assert lifecycle.ingest_chunk(batch, chunk(batch, 0, 2))
    assert not lifecycle.ingest_chunk(rival, chunk(batch, 0, 2))
    assert Product.objects.count() == 2


@pytest.mark.parametrize("end", [lifecycle.cancel, dispatch, lifecycle.delete])
def test_an_ingest_stops_when_its_epoch_is_over(end: Callable[[Request], object]) -> None:
    batch = submitted(*make_urls(2))
    end(Request.objects.get(pk=batch.pk))
    assert not lifecycle.ingest_chunk(batch, chunk(batch))
    assert not Product.objects.exists()


def test_an_aborted_ingest_fails_the_request_once(finished: list[tuple[object, ...]]) -> None:
    batch = submitted(*make_urls(2))
    assert lifecycle.abort_ingest(batch, "It is gone. " * 100)
    assert not lifecycle.abort_ingest(batch, "It is still gone.")
    batch.refresh_from_db()
    assert batch.status == Status.FAILED
    assert batch.error == ("It is gone. " * 100)[:500]
    assert finished == [(batch.pk, 1, Status.FAILED)]


def test_an_aborted_ingest_cancels_the_images_so_far(finished: list[tuple[object, ...]]) -> None:
    batch = submitted(*make_urls(3))
    assert lifecycle.ingest_chunk(batch, chunk(batch, 0, 2))
    assert lifecycle.abort_ingest(batch, "It is gone.")
    assert counters(batch) == {"total": 2, "canceled": 2}
    assert finished == [(batch.pk, 1, Status.FAILED)]
