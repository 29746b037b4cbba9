"""Users, catalogues, Requests and what becomes of them, without a worker."""

import csv
import io
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from processing.storage.outputs import store
from processing.work import ingest as ingestion
from processing.work.claim import ClaimedImage, claim
from products import lifecycle
from products.lifecycle import Outcome, PictureFacts
from products.models import Request
from tests.support.pictures import photo_jpeg

HEADER = ("Serial Number", "Product Name", "Input Image Urls")
URL = "https://shop.example/a.jpg"
OTHER_URL = "https://shop.example/b.jpg"
THIRD_URL = "https://shop.example/c.jpg"
JPEG = photo_jpeg(32, 24)
OTHER_JPEG = photo_jpeg(32, 24, seed=1)


def make_csv(*rows: Sequence[object], header: Sequence[str] = HEADER, **dialect: Any) -> bytes:
    """A catalogue with these rows; one that shows a picture if there are none."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, **{"lineterminator": "\n", **dialect})
    writer.writerows([header, *(rows or [(1, "Chair", URL)])])
    return text.getvalue().encode()


def make_workbook(*rows: Sequence[object]) -> bytes:
    """An Excel workbook with these rows on its first sheet, and another sheet."""
    book = openpyxl.Workbook()
    for row in rows:
        book.worksheets[0].append(list(row))
    book.create_sheet("Notes").append(["Serial Number", "of another sheet"])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def make_user(name: str = "ann", **fields: Any) -> User:
    """A user who has no password to log in with."""
    return User.objects.create_user(name, **fields)


def client_of(user: User, **options: Any) -> Client:
    """A client that `user` is logged in with."""
    client = Client(**options)
    client.force_login(user)
    return client


def upload(client: Client, data: bytes, name: str = "catalogue.csv", **options: Any) -> Any:
    """The API's answer to the upload of a catalogue."""
    return client.post("/api/requests/", {"file": SimpleUploadedFile(name, data), **options})


def download(client: Client, batch: Request, name: str, **query: str) -> bytes:
    """One of a Request's files, from the API."""
    response: Any = client.get(address_of(batch, name), query)
    assert response.status_code == 200
    return b"".join(response.streaming_content)


def submit(owner: User, data: bytes | None = None, name: str = "catalogue.csv", **options: Any) -> Request:
    """A new Request, not yet ingested."""
    return lifecycle.submit(owner, ContentFile(data or make_csv(), name), **options)[0]


def ingest(batch: Request) -> Request:
    """The same Request with its Products and Images."""
    assert list(ingestion.run(batch))[-1], "the whole file is in"
    batch.refresh_from_db()
    return batch


def settle(batch: Request, outcomes: Mapping[str, bytes | str]) -> Request:
    """The same Request with these outcomes by URL: a JPEG that is stored, or the code of a failure."""
    worker = uuid.uuid4()
    taken = claim(batch, worker, batch.images_pending)
    images = [image for image in taken if image.url in outcomes]
    assert len(images) == len(outcomes), "only Images that wait for a worker can be settled"
    lifecycle.record(batch.pk, [outcome_of(image, outcomes[image.url]) for image in images], worker)
    batch.images.filter(claimed_by=worker).update(claimed_by=None)
    batch.refresh_from_db()
    return batch


def outcome_of(image: ClaimedImage, result: bytes | str) -> Outcome:
    """Return the outcome of a picture that was stored, from a source twice as large, or that failed."""
    if isinstance(result, str):
        return Outcome.failed(image.id, image.attempts, result, f"It failed with {result}.")
    return Outcome.completed(
        image.id,
        image.attempts,
        output_key=store(result, "jpg"),
        source=PictureFacts(2 * len(result), 64, 48, "png"),
        output=PictureFacts(len(result), 32, 24, "jpeg"),
    )


def stored_catalogues() -> set[Path]:
    """The files of catalogues that are kept."""
    return set(Path(settings.DATA_DIR, "uploads").glob("*"))


def image_counts(**counts: int) -> dict[str, int]:
    """A Request's `images` as the API shows them: these counts, and zeros."""
    names = ("total", "pending", "completed", "failed", "canceled", "unchanged")
    return dict.fromkeys(names, 0) | counts


def address_of(batch: Request, part: str = "") -> str:
    """Return the address of a Request in the API, or of a part of it."""
    return f"/api/requests/{batch.pk}/{part}"


def three_outcomes(owner: User) -> Request:
    """A Request that is finished, with a completed, a failed and an invalid picture."""
    rows = (1, "Chair", f"{URL} {OTHER_URL}"), (2, "Table", "table.jpg"), (3, "Lamp", URL)
    return settle(ingest(submit(owner, make_csv(*rows))), {URL: JPEG, OTHER_URL: "timeout"})
