import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from pytest import MonkeyPatch
from pytest_django import Settings

from processing.storage.outputs import LocalStorage, StorageError, store
from tests.support.parallel import together


class BreakingFile(ContentFile):  # type: ignore[type-arg]
    """A file of which only the beginning can be read."""

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield b"the beginning"
        raise OSError(5, "Input/output error")


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


def files(directory: Path) -> list[str]:
    return [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]


def test_the_key_of_an_output_follows_from_its_bytes(media: Path) -> None:
    digest = hashlib.sha256(b"picture").hexdigest()[:40]
    assert store(b"picture", "jpg") == f"images/{digest[:2]}/{digest}.jpg"
    assert files(media) == [f"images/{digest[:2]}/{digest}.jpg"]
    assert (media / f"images/{digest[:2]}/{digest}.jpg").read_bytes() == b"picture"


def test_other_bytes_or_another_format_have_another_key(media: Path) -> None:
    keys = {store(b"picture", "jpg"), store(b"picture", "webp"), store(b"another", "jpg")}
    assert sorted(keys) == sorted(files(media))
    assert len(keys) == 3


def test_storing_the_same_bytes_again_changes_nothing(media: Path) -> None:
    keys = together([lambda: store(b"picture" * 10_000, "jpg")] * 8)
    assert len(set(keys)) == 1
    assert files(media) == [keys[0]]


def test_an_output_is_readable_by_the_web_server(media: Path) -> None:
    assert (media / store(b"picture", "jpg")).stat().st_mode & 0o777 == 0o644


def test_a_write_that_breaks_off_leaves_nothing(media: Path) -> None:
    with pytest.raises(OSError, match="Input/output"):
        LocalStorage().save("images/00/half.jpg", BreakingFile(b""))
    assert files(media) == []


def test_a_write_that_breaks_off_leaves_the_earlier_file_as_it_was(media: Path) -> None:
    LocalStorage().save("images/00/whole.jpg", ContentFile(b"whole"))
    with pytest.raises(OSError, match="Input/output"):
        LocalStorage().save("images/00/whole.jpg", BreakingFile(b""))
    assert files(media) == ["images/00/whole.jpg"]
    assert (media / "images/00/whole.jpg").read_bytes() == b"whole"


def test_a_disk_that_does_not_take_a_file_is_a_storage_error(media: Path) -> None:
    media.write_bytes(b"a file where the directory should be")
    with pytest.raises(StorageError):
        store(b"picture", "jpg")


def test_a_bucket_that_does_not_answer_is_a_storage_error(monkeypatch: MonkeyPatch) -> None:
    def save(*_: object, **__: object) -> str:
        raise EndpointConnectionError(endpoint_url="http://minio:9000")

    monkeypatch.setattr(type(default_storage), "save", save, raising=False)
    with pytest.raises(StorageError, match="minio:9000"):
        store(b"picture", "jpg")


def test_what_is_stored_already_is_kept_and_counts_as_stored_now(media: Path) -> None:
    path = media / store(b"picture", "jpg")
    os.utime(path, (1, 1))
    before = path.stat()
    store(b"picture", "jpg")
    after = path.stat()
    assert after.st_ino == before.st_ino
    assert after.st_mtime > 1


@pytest.mark.parametrize("damaged", [b"pict", b"picturE", b""])
def test_a_damaged_file_is_replaced(media: Path, damaged: bytes) -> None:
    path = media / store(b"picture", "jpg")
    path.write_bytes(damaged)
    assert media / store(b"picture", "jpg") == path
    assert path.read_bytes() == b"picture"


def test_a_file_that_is_deleted_at_the_same_moment_is_stored_again(
    media: Path, monkeypatch: MonkeyPatch
) -> None:
    path = media / store(b"picture", "jpg")

    def delete_first(*_: object) -> None:
        path.unlink()
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", delete_first)
        store(b"picture", "jpg")
    assert path.read_bytes() == b"picture"
