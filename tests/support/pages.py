"""Requests for pages to show, and what is read off these."""

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from products.models import Request
from tests.support.factories import ingest, make_csv, submit
from tests.support.factories import settle as settle_by_url

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

PICTURE = bytes(100_000)  # what it becomes; it was twice as large
OPTIONS = {"quality": "50", "format": "jpeg", "max_width": "", "max_height": ""}
HTMX = {"HX-Request": "true"}


def submitted(owner: User, *rows: tuple[str, str, str], **options: Any) -> Request:
    return submit(owner, make_csv(*rows), **options)


def ingested(owner: User, *rows: tuple[str, str, str]) -> Request:
    return ingest(submitted(owner, *rows))


def settle(batch: Request, *outcomes: bytes | str) -> None:
    """Settle as many of the batch's images, in order."""
    urls = batch.images.pending().order_by("number").values_list("url", flat=True)
    settle_by_url(batch, dict(zip(urls[: len(outcomes)], outcomes, strict=True)))


def pictures(count: int) -> list[tuple[str, str, str]]:
    """Rows with a picture each."""
    return [(f"S{n}", f"Product {n}", f"https://shop.example/{n}.jpg") for n in range(1, count + 1)]


def upload(client: Client, data: bytes, name: str = "catalogue.csv", **options: str) -> "Answer":
    return client.post("/", {"file": SimpleUploadedFile(name, data, "text/csv"), **OPTIONS, **options})


def address(view: str, batch: Request) -> str:
    return reverse(view, args=[batch.pk])


def body(answer: "Answer") -> str:
    return " ".join(answer.content.decode().split())
