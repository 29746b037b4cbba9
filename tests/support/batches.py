"""Requests made of URLs alone, and what becomes of their Images in the hands of a worker."""

import math
import uuid
from collections.abc import Mapping, Sequence
from threading import Condition
from typing import Any

from django.contrib.auth.models import User

from processing.work import ingest as ingestion
from processing.work.claim import ClaimedImage, claim
from products import lifecycle
from products.catalogue import Catalogue
from products.lifecycle import Chunk, Outcome, PictureFacts
from products.models import Image, Request
from tests.support.factories import make_csv, submit
from tests.support.origin import Answer, Handler
from tests.support.pictures import photo_jpeg

JPEG = photo_jpeg(64, 48)
WORKER = uuid.UUID("00000000-0000-4000-8000-000000000001")
OTHER_WORKER = uuid.UUID("00000000-0000-4000-8000-000000000002")


def make_urls(count: int, host: str = "shop.example") -> list[str]:
    return [f"http://{host}/{number}.jpg" for number in range(1, count + 1)]


def catalogue(*products: str | Sequence[str]) -> bytes:
    """A catalogue with one row for each argument, which is the product's URL or its list of URLs."""
    lists = [[product] if isinstance(product, str) else product for product in products]
    return make_csv(*((number, f"Product {number}", ",".join(urls)) for number, urls in enumerate(lists, 1)))


def submitted(*products: str | Sequence[str], **options: Any) -> Request:
    """A Request that is not yet ingested; products are as in `catalogue`."""
    owner, _ = User.objects.get_or_create(username="ann")
    return submit(owner, catalogue(*products), **options)


def ingested(*products: str | Sequence[str], **options: Any) -> Request:
    """A Request with its Products and Images, in however many chunks."""
    return ingest(submitted(*products, **options))


def ingest(batch: Request) -> Request:
    for _ in ingestion.run(batch):
        pass
    batch.refresh_from_db()
    return batch


def working(count: int) -> Request:
    """Return an ingested Request with this number of pending Images."""
    return ingested(*make_urls(count))


def chunk(batch: Request, start: int = 0, end: int | None = None) -> Chunk:
    """Rows of its file as they go in, all or some."""
    with batch.source.open("rb") as file:
        return Chunk.of(batch.pk, list(Catalogue(file))[start:end])


def claimed(batch: Request, count: int = 100, worker: uuid.UUID = WORKER) -> list[ClaimedImage]:
    """Claim up to `count` Images of a Request."""
    return claim(batch, worker, count)


def complete(image: ClaimedImage) -> Outcome:
    """Return the outcome of a picture of 1,000 bytes that became one of 400, without storing any."""
    return Outcome.completed(
        image.id,
        image.attempts + 1,
        output_key=f"images/{image.id.hex[:2]}/{image.id.hex}.jpg",
        source=PictureFacts(1000, 40, 30, "png"),
        output=PictureFacts(400, 40, 30, "jpeg"),
    )


def fail(image: ClaimedImage, code: str, detail: str = "It went wrong.") -> Outcome:
    """Return the outcome of a picture that failed."""
    return Outcome.failed(image.id, image.attempts + 1, code, detail)


def settle(batch: Request, failed: Mapping[int, str] | None = None) -> Request:
    """Settle all its pending Images: by number with an error code if `failed` has one, else completed."""
    codes = {batch.images.get(number=number).pk: code for number, code in (failed or {}).items()}
    while images := claim(batch, WORKER, 500):
        outcomes = [
            fail(image, codes[image.id]) if image.id in codes else complete(image) for image in images
        ]
        lifecycle.record(batch.pk, outcomes, WORKER)
    batch.refresh_from_db()
    return batch


def counters(batch: Request) -> dict[str, int]:
    """Return the counters of Images that are not 0, after checking that the rows agree with them."""
    batch.refresh_from_db()
    statuses = list(batch.images.values_list("status", flat=True))
    rows = {"total": len(statuses)} | {status: statuses.count(status) for status in Image.Status.values}
    counts = {name: getattr(batch, f"images_{name}") for name in rows}
    assert counts == rows
    return {name: count for name, count in counts.items() if count}


def completed(batch: Request) -> int:
    """Return the number of its completed Images, from the database."""
    return batch.images.filter(status=Image.Status.COMPLETED).count()


def held() -> int:
    """Return the number of claimed Images."""
    return Image.objects.exclude(claimed_by=None).count()


class Gate:
    """A route of an origin that answers with a picture only to those whom a test lets through."""

    def __init__(self) -> None:
        self.waiting = self.most_waiting = 0
        self._passes = 0.0
        self._changed = Condition()

    def let_through(self, count: float) -> None:
        """Answer so many requests, of those that wait and those still to come."""
        with self._changed:
            self._passes += count
            self._changed.notify_all()

    def open(self) -> None:
        """Answer all from now on."""
        self.let_through(math.inf)

    def __call__(self, handler: Handler) -> None:
        with self._changed:
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
            assert self._changed.wait_for(lambda: self._passes >= 1, timeout=60)
            self._passes -= 1
            self.waiting -= 1
        handler.answer(Answer(JPEG))
