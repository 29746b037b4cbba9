"""Bulk statements: which ids are known, and writing and reading on SQLite as well."""

import uuid
from collections.abc import Iterator

import pytest
from django.db.utils import ConnectionHandler

from processing.work.models import KnownPicture
from products import lifecycle
from products.models import Image, bulk
from tests.support.batches import chunk, make_urls, submitted

NAMES = ("id", "image_id", "source_hash", "url", "etag", "last_modified")


@pytest.fixture
def sqlite(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty table of known pictures in a SQLite database, with two rows per statement."""
    handler = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
    connection = handler["default"]
    with connection.schema_editor() as editor:
        editor.create_model(KnownPicture)
    monkeypatch.setattr(bulk, "connection", connection)
    monkeypatch.setattr(bulk, "connections", handler)
    monkeypatch.setattr(bulk, "MERGED_ROWS", 2)
    yield
    connection.close()


def digits(count: int) -> list[str]:
    return [uuid.UUID(int=number).hex for number in range(count)]


def rows(names: tuple[str, ...], ids: list[str]) -> list[tuple[object, ...]]:
    return sorted(bulk.read(KnownPicture, names, ids))


@pytest.mark.usefixtures("sqlite")
def test_rows_are_written_and_read_over_several_statements() -> None:
    ids = digits(5)
    made = [(pk, pk, bytes([number]), f"https://a/{number}", "", "") for number, pk in enumerate(ids)]
    bulk.upsert(KnownPicture, NAMES, made)
    assert rows(NAMES, ids) == made
    changed = [(pk, uuid.UUID(pk), b"new", "https://b", "", "") for pk in (*ids[2:], uuid.UUID(int=9).hex)]
    bulk.upsert(KnownPicture, NAMES, changed)
    assert rows(("id", "url"), [*digits(8), uuid.UUID(int=9).hex]) == [
        *((pk, f"https://a/{number}") for number, pk in enumerate(ids[:2])),
        *((pk, "https://b") for pk, *_ in changed),
    ]


@pytest.mark.usefixtures("sqlite")
def test_an_update_skips_missing_rows() -> None:
    ids = digits(5)
    bulk.upsert(KnownPicture, NAMES, [(pk, pk, b"", "", "", "") for pk in ids[:4]])
    bulk.update(KnownPicture, ("id", "etag"), [(uuid.UUID(pk), f"tag {pk}") for pk in ids[1:]])
    assert rows(("id", "etag"), ids) == [(ids[0], ""), *((pk, f"tag {pk}") for pk in ids[1:4])]


@pytest.mark.usefixtures("sqlite")
def test_writing_no_rows_does_nothing() -> None:
    bulk.upsert(KnownPicture, NAMES, [])
    bulk.update(KnownPicture, ("id", "etag"), [])
    assert rows(("id",), digits(1)) == []


@pytest.mark.django_db
def test_ids_that_have_a_row_are_known() -> None:
    batch = submitted(*make_urls(3))
    assert lifecycle.ingest_chunk(batch, chunk(batch))
    ids = [pk.hex for pk in batch.images.values_list("pk", flat=True)]
    assert sorted(bulk.known(Image, [*ids, uuid.uuid4().hex])) == sorted(ids)
    assert bulk.known(Image, []) == []
