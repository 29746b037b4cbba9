"""Uploads and downloads while storage is down or a disk is full: a sentence, and nothing half-stored."""

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from django.contrib.auth.models import User
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from imageextractor.upload_handlers import TemporaryFileHandler
from products import lifecycle
from products.models import Draft, Request
from products.models.files import StorageFull
from tests.support.factories import client_of, make_csv, make_user, stored_catalogues, submit

pytestmark = pytest.mark.django_db

Call = Callable[[Client, Request], Any]


def a_file() -> SimpleUploadedFile:
    return SimpleUploadedFile("a.csv", make_csv())


def a_draft() -> Draft:
    return lifecycle.keep_draft(User.objects.get(), a_file())


STORING: dict[str, Call] = {
    "API": lambda client, _: client.post("/api/requests/", {"file": a_file()}, format="multipart"),
    "earlier system": lambda client, _: client.post("/upload", {"file": a_file()}),
    "form": lambda client, _: client.post("/", {"file": a_file(), "quality": "50", "format": "jpeg"}),
    "preview": lambda client, _: client.post(
        "/", {"file": a_file(), "quality": "50", "format": "jpeg", "step": "preview"}
    ),
}
READING: dict[str, Call] = {
    "result": lambda client, batch: client.get(f"/api/requests/{batch.pk}/results.csv"),
    "status": lambda client, batch: client.get(f"/status/{batch.pk}"),
}


@pytest.fixture
def client() -> Client:
    return client_of(make_user())


@pytest.fixture
def batch(client: Client) -> Request:
    return submit(User.objects.get())


def assert_says(response: Any, status: int, sentence: str) -> None:
    assert response.status_code == status
    assert sentence in response.content.decode()
    if response.headers["Content-Type"] == "application/json":
        assert b'"type":"server_error"' in response.content.replace(b": ", b":")
    assert response.headers.get("Retry-After") == ("60" if status == 503 else None)


def down(*_: Any, **__: Any) -> Any:
    raise EndpointConnectionError(endpoint_url="http://s3.example")


@pytest.mark.parametrize("call", [*STORING.values(), *READING.values()], ids=[*STORING, *READING])
def test_storage_that_is_down_is_answered_503(
    client: Client, batch: Request, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.setattr(FileSystemStorage, "_save", down)
    monkeypatch.setattr(FileSystemStorage, "_open", down)
    assert_says(call(client, batch), 503, "does not answer")
    assert (Request.objects.count(), Draft.objects.count()) == (1, 0)


def test_a_preview_that_cannot_be_read_is_answered_503(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_draft().get_absolute_url()
    monkeypatch.setattr(FileSystemStorage, "_open", down)
    assert_says(client.get(path), 503, "does not answer")


@pytest.mark.parametrize("call", STORING.values(), ids=STORING)
def test_a_full_disk_is_answered_507_and_nothing_stays(
    client: Client, batch: Request, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """The disk takes the beginning of the file."""
    before = stored_catalogues()

    def fdopen(descriptor: int, *_: Any) -> Any:
        os.write(descriptor, b"Serial")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("django.core.files.storage.filesystem.os.fdopen", fdopen)
    assert_says(call(client, batch), 507, "disk of the server is full")
    assert stored_catalogues() == before
    assert (Request.objects.count(), Draft.objects.count()) == (1, 0)


@pytest.mark.parametrize("call", STORING.values(), ids=STORING)
def test_a_full_disk_is_logged_without_a_traceback(
    client: Client,
    batch: Request,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: Call,
) -> None:
    monkeypatch.setattr(FileSystemStorage, "_save", full)
    call(client, batch)
    assert sum("No space left on device" in record.getMessage() for record in caplog.records) == 1
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("call", STORING.values(), ids=STORING)
def test_no_room_for_what_is_being_uploaded_is_answered_507(
    client: Client, batch: Request, monkeypatch: pytest.MonkeyPatch, settings: Any, call: Call
) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1
    monkeypatch.setattr("tempfile.NamedTemporaryFile", no_room)
    monkeypatch.setattr("django.core.files.uploadedfile.tempfile.NamedTemporaryFile", no_room)
    assert_says(call(client, batch), 507, "disk of the server is full")


def no_room(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_that_cannot_be_deleted_after_all_hides_neither_error_nor_success(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prune deletes it after a day."""
    user, draft = User.objects.get(), a_draft()
    monkeypatch.setattr(FileSystemStorage, "delete", full)
    lifecycle.discard_draft(draft)
    assert not Draft.objects.exists()

    def fail(*_: Any, **__: Any) -> Any:
        raise LookupError("the error that is to be seen")

    monkeypatch.setattr(Request, "save", fail)
    with pytest.raises(LookupError):
        submit(user)
    monkeypatch.setattr(Draft, "save", fail)
    with pytest.raises(LookupError):
        a_draft()


class FileWithoutRoom:
    """A file that keeps bytes in memory and finds no room for them when it has to write them."""

    name = "/nonexistent"
    closed = False

    def write(self, data: bytes) -> int:
        return len(data)

    def seek(self, _position: int) -> None:
        full()

    def close(self) -> None:
        self.closed = True
        full()


def test_the_last_bytes_of_a_form_that_find_no_room_are_a_full_disk() -> None:
    """They are written when the file is complete, and once more when it is closed."""
    handler: Any = TemporaryFileHandler()
    handler.new_file("file", "a.csv", "text/csv", 100)
    handler.file.file.close()
    handler.file.file = FileWithoutRoom()
    handler.receive_data_chunk(b"Serial Number", 0)
    with pytest.raises(StorageFull):
        handler.file_complete(13)
    handler.upload_interrupted()
    assert handler.file.file.closed


def test_a_workbook_whose_rows_find_no_room_is_a_full_disk(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("products.catalogue.conversion.tempfile.TemporaryFile", full)
    book = SimpleUploadedFile("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000))
    assert_says(client.post("/api/requests/", {"file": book}), 507, "disk of the server is full")
