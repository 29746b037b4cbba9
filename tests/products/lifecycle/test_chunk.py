"""What a chunk of rows becomes in the database."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from products import lifecycle
from products.catalogue import Row
from products.models import Chunk, Image, Product, bulk
from tests.support.batches import chunk, make_urls, submitted

#: Whatever COPY gives a meaning of its own, and what it must not be taken for.
ODD = [
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


@pytest.mark.parametrize("url", [*make_urls(3), "", "ü😀"])
def test_ids_are_those_of_uuid5(url: str) -> None:
    for _ in range(20):
        pk = uuid.uuid4()
        assert Image.id_for(pk, url) == uuid.uuid5(pk, url)
        assert Product.id_for(pk, len(url)) == uuid.uuid5(pk, f"row {len(url)}")


@pytest.mark.django_db
def test_texts_go_in_as_they_are() -> None:
    batch = submitted(*["http://shop.example/1.jpg"] * len(ODD))
    rows = [
        Row(number, number, [odd, odd], "", odd, odd, [f"http://shop.example/{number}{odd}"])
        for number, odd in enumerate(ODD, 1)
    ]
    assert lifecycle.ingest_chunk(batch, Chunk.of(batch.pk, rows))
    products = batch.products.with_images()
    assert [(product.serial_number, product.product_name, product.cells) for product in products] == [
        (odd, odd, [odd, odd]) for odd in ODD
    ]
    assert [[image.url for image in product.images_in_order] for product in products] == [
        row.image_urls for row in rows
    ]


@pytest.mark.django_db
def test_rows_are_those_that_a_model_would_have_made() -> None:
    batch = submitted(["http://shop.example/1.jpg", "HTTP://shop.example:80/2.jpg"], "chair.jpg")
    assert lifecycle.ingest_chunk(batch, chunk(batch))
    good, other, bad = batch.images.order_by("number")
    made = Image(request=batch, due_at=batch.created_at)
    same = {"id", "number", "url", "host", "status", "error_code", "error_detail", "settled_at"}
    for image in good, other, bad:
        for field in Image._meta.concrete_fields:
            if field.attname not in same:
                assert getattr(image, field.attname) == getattr(made, field.attname), field.attname
    assert [image.host for image in (good, other, bad)] == ["shop.example", "shop.example:80", ""]
    assert [image.status for image in (good, other, bad)] == ["pending", "pending", "failed"]
    assert bad.error_code == "invalid_url"
    assert bad.error_detail
    assert bad.settled_at is not None


@pytest.mark.django_db
def test_those_ids_are_known_that_have_a_row() -> None:
    batch = submitted(*make_urls(3))
    assert lifecycle.ingest_chunk(batch, chunk(batch))
    ids = [pk.hex for pk in batch.images.values_list("pk", flat=True)]
    assert sorted(bulk.known(Image, [*ids, uuid.uuid4().hex])) == sorted(ids)
    assert bulk.known(Image, []) == []


@pytest.mark.django_db
def test_how_many_statements_a_chunk_takes_does_not_depend_on_its_size() -> None:
    counts = []
    for size in 3, 300:
        batch = submitted(*make_urls(2 * size))
        lifecycle.ingest_chunk(batch, chunk(batch, 0, size))
        with CaptureQueriesContext(connection) as queries:
            lifecycle.ingest_chunk(batch, chunk(batch, size))
        counts.append(len(queries))
    assert counts[0] == counts[1]
