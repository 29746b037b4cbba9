"""Statements of our own on SQLite, which the other tests of this process do without."""

import uuid
from collections.abc import Iterator

import pytest
from django.db.utils import ConnectionHandler

from processing.work.models import Memory, Noted
from products.models import bulk

NAMES = Noted._fields


@pytest.fixture
def sqlite(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty table of memories in a SQLite of its own, which gets two rows in a statement."""
    handler = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
    connection = handler["default"]
    with connection.schema_editor() as editor:
        editor.create_model(Memory)
    monkeypatch.setattr(bulk, "connection", connection)
    monkeypatch.setattr(bulk, "connections", handler)
    monkeypatch.setattr(bulk, "MERGED_ROWS", 2)
    yield
    connection.close()


def digits(count: int) -> list[str]:
    return [uuid.UUID(int=number).hex for number in range(count)]


def rows(names: tuple[str, ...], ids: list[str]) -> list[tuple[object, ...]]:
    return sorted(bulk.read(Memory, names, ids))


@pytest.mark.usefixtures("sqlite")
def test_all_rows_are_written_and_read_however_many_statements_they_take() -> None:
    ids = digits(5)
    made = [(pk, pk, bytes([number]), f"https://a/{number}", "", "") for number, pk in enumerate(ids)]
    bulk.upsert(Memory, NAMES, made)
    assert rows(NAMES, ids) == made
    changed = [(pk, uuid.UUID(pk), b"new", "https://b", "", "") for pk in (*ids[2:], uuid.UUID(int=9).hex)]
    bulk.upsert(Memory, NAMES, changed)
    assert rows(("id", "url"), [*digits(8), uuid.UUID(int=9).hex]) == [
        *((pk, f"https://a/{number}") for number, pk in enumerate(ids[:2])),
        *((pk, "https://b") for pk, *_ in changed),
    ]


@pytest.mark.usefixtures("sqlite")
def test_rows_that_are_not_there_are_passed_over_by_an_update() -> None:
    ids = digits(5)
    bulk.upsert(Memory, NAMES, [(pk, pk, b"", "", "", "") for pk in ids[:4]])
    bulk.update(Memory, ("id", "etag"), [(uuid.UUID(pk), f"tag {pk}") for pk in ids[1:]])
    assert rows(("id", "etag"), ids) == [(ids[0], ""), *((pk, f"tag {pk}") for pk in ids[1:4])]


@pytest.mark.usefixtures("sqlite")
def test_nothing_to_write_is_no_statement() -> None:
    bulk.upsert(Memory, NAMES, [])
    bulk.update(Memory, ("id", "etag"), [])
    assert rows(("id",), digits(1)) == []
