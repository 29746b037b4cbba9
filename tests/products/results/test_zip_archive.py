"""images.zip: all new pictures in one file."""

import io
import subprocess
import zipfile
from pathlib import Path
from secrets import token_bytes
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from products import lifecycle
from products.models import Request
from tests.support.factories import (
    JPEG,
    OTHER_JPEG,
    OTHER_URL,
    THIRD_URL,
    URL,
    download,
    ingest,
    make_csv,
    settle,
    submit,
)

pytestmark = pytest.mark.django_db


def zip_of(api: Client, batch: Request) -> dict[str, bytes]:
    """The members of the ZIP in order, each read and checked."""
    with zipfile.ZipFile(io.BytesIO(download(api, batch, "images.zip"))) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == len(names)
        return {name: archive.read(name) for name in names}


def test_the_zip_holds_the_pictures_in_the_order_of_the_rows(api: Client, ann: User) -> None:
    rows = ("B-7", "Chair", f"{URL} {OTHER_URL} {THIRD_URL}"), ("A-1", "Table", OTHER_URL)
    batch = settle(
        ingest(submit(ann, make_csv(*rows))), {URL: JPEG, OTHER_URL: "timeout", THIRD_URL: OTHER_JPEG}
    )
    members = zip_of(api, batch)
    assert list(members.items()) == [("B-7-1.jpg", JPEG), ("B-7-3.jpg", OTHER_JPEG)]


def test_names_in_the_zip_are_safe(api: Client, ann: User) -> None:
    serials = ["../../etc/passwd", "/abs", r"C:\win", "a/b", "..", "", "Größe 42", 'a"b<c>|*?', "x" * 300]
    rows = [(serial, "Chair", f"{URL}?{number}") for number, serial in enumerate(serials)]
    batch = ingest(submit(ann, make_csv(*rows)))
    settle(batch, {str(url): JPEG for _, _, url in rows})
    assert list(zip_of(api, batch)) == [
        *("etc_passwd-1.jpg", "abs-1.jpg", "C_win-1.jpg", "a_b-1.jpg", "row-1.jpg", "row-1 (row 6).jpg"),
        *("Größe_42-1.jpg", "a_b_c-1.jpg", f"{'x' * 80}-1.jpg"),
    ]


def test_names_in_the_zip_differ_where_serials_do_not(api: Client, ann: User) -> None:
    serials = ["a-row4", "a", "A", "a", "a-1 (row 4)", "a", "Straße", "STRASSE"]
    rows = [(serial, "Chair", f"{URL} {OTHER_URL}") for serial in serials]
    batch = settle(ingest(submit(ann, make_csv(*rows))), {URL: JPEG, OTHER_URL: OTHER_JPEG})
    members = zip_of(api, batch)
    assert len({name.casefold() for name in members}) == 2 * len(serials)
    assert list(members.values()) == [JPEG, OTHER_JPEG] * len(serials)


def test_the_zip_holds_no_more_than_a_picture_in_memory(api: Client, ann: User) -> None:
    rows = [(number, "Chair", f"{URL}?{number}") for number in range(5)]
    batch = ingest(submit(ann, make_csv(*rows)))
    settle(batch, {str(url): JPEG for _, _, url in rows})
    response: Any = api.get(f"/api/requests/{batch.pk}/images.zip")
    pieces = list(response.streaming_content)
    assert len(pieces) == len(rows) + 1
    assert max(map(len, pieces)) < 2 * len(JPEG)


def test_the_zip_is_offered_as_a_file_named_after_the_input(api: Client, ann: User) -> None:
    batch = settle(ingest(submit(ann, name="spring.csv")), {URL: JPEG})
    response = api.get(f"/api/requests/{batch.pk}/images.zip")
    assert response.headers["Content-Type"] == "application/zip"
    assert response.headers["Content-Disposition"] == 'attachment; filename="spring-pictures.zip"'


def test_there_is_no_zip_without_pictures(api: Client, ann: User) -> None:
    response = api.get(f"/api/requests/{submit(ann).pk}/images.zip")
    assert response.status_code == 404
    assert response.json()["errors"][0]["detail"] == "No picture has been completed yet."


def test_pictures_of_earlier_runs_stay_in_the_zip_while_others_are_tried_again(
    api: Client, ann: User
) -> None:
    batch = settle(
        ingest(submit(ann, make_csv((1, "Chair", f"{URL} {OTHER_URL}")))), {URL: JPEG, OTHER_URL: "timeout"}
    )
    lifecycle.retry(batch)
    assert batch.images.pending().count() == 1
    assert list(zip_of(api, batch)) == ["1-1.jpg"]


def test_the_pictures_of_a_product_in_several_rows_are_numbered_on(api: Client, ann: User) -> None:
    rows = [
        ("lamp", "Lamp", f"{URL},{OTHER_URL}"),
        ("lamp", "", THIRD_URL),
        ("chair", "Chair", URL),
        ("lamp", "", URL),
    ]
    batch = settle(ingest(submit(ann, make_csv(*rows))), dict.fromkeys([URL, OTHER_URL, THIRD_URL], JPEG))
    assert list(zip_of(api, batch)) == [
        *("lamp-1.jpg", "lamp-2.jpg", "lamp-3.jpg", "chair-1.jpg", "lamp-1 (row 4).jpg"),
    ]


@pytest.mark.parametrize("serial", ["椅" * 100, "😀" * 100, "é" * 100, "e\u0301" * 100])
def test_names_in_the_zip_fit_file_systems_that_count_bytes(api: Client, ann: User, serial: str) -> None:
    batch = settle(ingest(submit(ann, make_csv((serial, "Chair", URL)))), {URL: JPEG})
    (name,) = zip_of(api, batch)
    assert len(name.encode()) < 255
    assert name.endswith("-1.jpg")


def test_names_that_only_differ_in_how_their_letters_are_composed_are_not_used_twice(
    api: Client, ann: User
) -> None:
    rows = [("caf\u00e9", "Cup", URL), ("x", "Lamp", URL), ("cafe\u0301", "Cup", URL)]
    batch = settle(ingest(submit(ann, make_csv(*rows))), {URL: JPEG})
    assert list(zip_of(api, batch)) == ["café-1.jpg", "x-1.jpg", "café-1 (row 3).jpg"]


@pytest.mark.needs("unzip")
def test_1000_pictures_stream_with_flat_memory_into_a_zip_that_others_can_read(
    api: Client, ann: User, tmp_path: Path
) -> None:
    count = 1000
    pictures = [token_bytes(40_000) for _ in range(50)]
    rows = [(f"A-{number}", "Lamp", f"{URL}?{number}") for number in range(count)]
    batch = ingest(submit(ann, make_csv(*rows)))
    for start in range(0, count, 500):
        settle(batch, {f"{URL}?{number}": pictures[number % 50] for number in range(start, start + 500)})
    path, resident = tmp_path / "images.zip", []
    response: Any = api.get(f"/api/requests/{batch.pk}/images.zip")
    with path.open("wb") as file:
        for number, piece in enumerate(response.streaming_content):
            file.write(piece)
            if number % 100 == 0:
                resident.append(resident_bytes())
    assert path.stat().st_size > count * 40_000
    assert max(resident) - resident[1] < 16_000_000  # after the first pictures, for 40 MB
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"A-{number}-1.jpg" for number in range(count)]
        assert archive.testzip() is None
        assert all(
            archive.read(f"A-{number}-1.jpg") == pictures[number % 50] for number in range(0, count, 7)
        )
    test = subprocess.run(["unzip", "-tq", path], capture_output=True, text=True, check=False)
    assert (test.returncode, test.stderr) == (0, "")
    assert "No errors detected" in test.stdout


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
