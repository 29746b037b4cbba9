"""ZIPs of a catalogue with its pictures: which catalogue, which picture, and what is refused."""

import io
import zipfile
import zlib
from collections.abc import Callable

import pytest

from products.catalogue import (
    ARCHIVE_URL,
    ArchivedPictureError,
    CatalogueError,
    PictureArchive,
    is_picture_archive,
)
from tests.support.factories import make_workbook

CSV = b"SKU,Name,Images\n1,Chair,images/Chair.JPG\n"


def make_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file


def read(archive: PictureArchive, path: str, max_bytes: int = 1000) -> bytes:
    target = io.BytesIO()
    archive.read_picture(f"{ARCHIVE_URL}/{path}", target, max_bytes)
    return target.getvalue()


def test_paths_are_found_beside_the_catalogue_and_from_the_top_whatever_their_case() -> None:
    archive = PictureArchive(
        make_zip({"shop/list.csv": CSV, "shop/images/chair.jpg": b"beside", "Images/Lamp.jpg": b"top"})
    )
    assert archive.catalogue_name == "list.csv"
    assert read(archive, "images/Chair.JPG") == b"beside"
    assert read(archive, "./IMAGES\\chair.jpg") == b"beside"
    assert read(archive, "images/lamp.jpg") == b"top"


@pytest.mark.parametrize("path", ["images/table.jpg", "../list.csv/x", "", "C:/images/chair.jpg"])
def test_a_path_that_is_not_there_is_named(path: str) -> None:
    archive = PictureArchive(make_zip({"list.csv": CSV, "images/chair.jpg": b"x"}))
    with pytest.raises(ArchivedPictureError, match="The ZIP has no file named"):
        read(archive, path)


def test_the_catalogue_at_the_top_is_read_where_folders_have_others() -> None:
    archive = PictureArchive(make_zip({"list.csv": CSV, "old/list.csv": b"", "__MACOSX/list.csv": b""}))
    target = io.BytesIO()
    archive.read_catalogue(target, 1000)
    assert target.getvalue() == CSV


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"a.jpg": b"x"}, "no_catalogue_in_zip"),
        ({"a.csv": CSV, "b.csv": CSV}, "several_catalogues_in_zip"),
        ({"a/a.csv": CSV, "b/b.csv": CSV}, "several_catalogues_in_zip"),
        ({"a.txt": CSV, "b.txt": CSV}, "several_catalogues_in_zip"),
        ({}, "no_catalogue_in_zip"),
    ],
)
def test_a_zip_needs_one_catalogue(files: dict[str, bytes], code: str) -> None:
    with pytest.raises(CatalogueError) as refused:
        PictureArchive(make_zip(files))
    assert [problem.code for problem in refused.value.problems] == [code]


def test_a_picture_that_unpacks_to_more_than_is_allowed_is_not_read() -> None:
    archive = PictureArchive(make_zip({"list.csv": CSV, "bomb.jpg": bytes(1_000_000)}))
    with pytest.raises(ArchivedPictureError, match="more than 1 KB"):
        read(archive, "bomb.jpg")


def test_a_catalogue_that_unpacks_to_more_than_is_allowed_is_refused() -> None:
    archive = PictureArchive(make_zip({"list.csv": bytes(1_000_000)}))
    with pytest.raises(CatalogueError, match="more than 1 KB"):
        archive.read_catalogue(io.BytesIO(), 1000)


def test_a_size_that_is_a_lie_unpacks_to_no_more_than_it_says() -> None:
    whole = make_zip({"list.csv": CSV, "bomb.jpg": bytes(1_000_000)}).getvalue()
    forged = whole.replace((1_000_000).to_bytes(4, "little"), (500).to_bytes(4, "little"))
    assert forged != whole
    with pytest.raises(ArchivedPictureError, match="damaged"):
        read(PictureArchive(io.BytesIO(forged)), "bomb.jpg")


def test_a_damaged_picture_is_named() -> None:
    data = make_zip({"list.csv": CSV, "chair.jpg": b"a picture of a chair"}, zipfile.ZIP_STORED).getvalue()
    archive = PictureArchive(io.BytesIO(data.replace(b"a picture", b"A picture")))
    with pytest.raises(ArchivedPictureError, match=r"chair\.jpg is damaged in the ZIP"):
        read(archive, "chair.jpg")


def test_workbooks_and_other_files_are_no_such_zips() -> None:
    assert is_picture_archive(make_zip({"list.csv": CSV}))
    assert not is_picture_archive(io.BytesIO(make_workbook(["SKU"], [1])))
    assert not is_picture_archive(io.BytesIO(CSV))
    assert not is_picture_archive(io.BytesIO(b"PK\x03\x04 and nothing more"))


@pytest.mark.parametrize(
    "files",
    [
        {"shop/list.csv": CSV, "shop/old/list.csv": b"", "shop/images/chair.jpg": b"x"},
        {"list.csv": CSV, ".trash/list.csv": b"", "shop/.git/list.csv": b"", "a/__MACOSX/b.csv": b""},
        {"list.csv": CSV, "licence.txt": b"Use it as you like."},
    ],
)
def test_the_catalogue_is_the_one_beside_all_other_files(files: dict[str, bytes]) -> None:
    target = io.BytesIO()
    PictureArchive(make_zip(files)).read_catalogue(target, 1000)
    assert target.getvalue() == CSV


def test_a_text_file_is_the_catalogue_where_nothing_else_is() -> None:
    assert PictureArchive(make_zip({"list.txt": CSV, "chair.jpg": b"x"})).catalogue_name == "list.txt"


def test_of_names_that_differ_in_case_the_exact_one_is_read_and_no_other_guessed() -> None:
    archive = PictureArchive(make_zip({"list.csv": CSV, "Chair.jpg": b"upper", "chair.jpg": b"lower"}))
    assert [read(archive, name) for name in ("Chair.jpg", "chair.jpg")] == [b"upper", b"lower"]
    with pytest.raises(
        ArchivedPictureError, match=r"no file named CHAIR\.jpg, but Chair\.jpg and chair\.jpg"
    ) as no:
        read(archive, "CHAIR.jpg")
    assert no.value.code == "invalid_url"


def with_flag(data: bytes, name: bytes, offset: int, value: int) -> bytes:
    """Change a byte of a file's entry in the directory of a ZIP, counted from the entry's beginning."""
    entry = data.rindex(name) - 46
    return data[: entry + offset] + bytes([value]) + data[entry + offset + 1 :]


VERSION, FLAGS = 6, 8
PICTURE = b"a picture of a chair"


@pytest.mark.parametrize(
    "data",
    [
        with_flag(make_zip({"list.csv": CSV, "a.jpg": b"x"}).getvalue(), b"a.jpg", VERSION, 99),
        make_zip({"list.csv": CSV, "\xe9.jpg": b"x"}).getvalue().replace("\xe9".encode(), b"\xff\xfe"),
    ],
    ids=["a later version of ZIP", "a name in no encoding"],
)
def test_a_zip_that_cannot_be_read_is_refused(data: bytes) -> None:
    assert not is_picture_archive(io.BytesIO(data))
    with pytest.raises(CatalogueError, match="The ZIP cannot be read"):
        PictureArchive(io.BytesIO(data))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (
            lambda data: data.replace(
                zlib.compress(PICTURE)[2:-4], b"\xff" * len(zlib.compress(PICTURE)[2:-4])
            ),
            "corrupt_image",
        ),
        (lambda data: with_flag(data, b"chair.jpg", FLAGS, 1), "unsupported_format"),
        (lambda data: with_flag(data, b"chair.jpg", 25, 100), "too_large"),
    ],
    ids=["damaged", "protected", "large"],
)
def test_a_picture_that_cannot_be_read_says_why(change: Callable[[bytes], bytes], code: str) -> None:
    whole = make_zip({"list.csv": CSV, "chair.jpg": PICTURE}).getvalue()
    assert change(whole) != whole
    with pytest.raises(ArchivedPictureError) as failed:
        read(PictureArchive(io.BytesIO(change(whole))), "chair.jpg")
    assert failed.value.code == code
