"""What external workers report: the outcome of a Product's pictures."""

import re
import uuid
from collections.abc import Sequence

from django.db import transaction

from processing.webhooks.models import InboundMessage
from products.catalogue import url_problem
from products.lifecycle import Outcome, record
from products.models import Image, Product, Request

#: As the earlier system joined URLs: a comma inside of one is followed by no other, nor by an empty place.
_COMMAS = re.compile(r",\s*(?=https?://|,|$)", re.IGNORECASE)
FAILED_ELSEWHERE = "The external worker that made this picture reported a failure."


class InvalidReport(Exception):
    """The report fits no Product, or not the one that it names."""


def split_urls(text: str) -> list[str]:
    """The URLs of a text that joins them by commas; an empty one where a place is empty."""
    return [url.strip() for url in _COMMAS.split(text)] if text.strip() else []


def apply(message_id: str, product_id: uuid.UUID, *, completed: bool, urls: Sequence[str]) -> None:
    """Give a Product's pending Images the reported outcome, once for each message. Raises InvalidReport.

    `urls` are aligned with the Product's Images by position; an empty one is a failure. What is settled, or
    belongs to a Request that has ended, stays as it is.
    """
    product = Product.objects.with_images().filter(pk=product_id).first()
    if product is None:
        raise InvalidReport("There is no such product.")
    output_urls = _output_urls(product, urls) if completed else {}
    worker = uuid.uuid4()
    with transaction.atomic():
        if not InboundMessage.is_new(message_id):
            return
        batch = Request.objects.locked().active().filter(pk=product.request_id).first()
        if batch is None:
            return
        images = batch.images.filter(places__product=product).order_by().distinct()
        # Taken from whichever worker has claimed them, whose own outcomes are then ignored.
        pending = list(batch.images.pending().filter(pk__in=images.values("pk")).select_for_update())
        batch.images.filter(pk__in=[image.pk for image in pending]).update(claimed_by=worker)
        record(batch.pk, (_outcome(image, output_urls.get(image.pk)) for image in pending), worker)


def _outcome(image: Image, output_url: str | None) -> Outcome:
    attempts = image.attempts + 1
    if output_url:
        return Outcome.completed_elsewhere(image.pk, attempts, output_url)
    return Outcome.failed(image.pk, attempts, "crashed", FAILED_ELSEWHERE)


def _output_urls(product: Product, urls: Sequence[str]) -> dict[uuid.UUID, str]:
    images: list[Image] = product.images_in_order
    if len(urls) != len(images) or (images and not any(urls)):
        raise InvalidReport("The URLs do not match the product's pictures.")
    if any(url and url_problem(url) for url in urls):
        raise InvalidReport("A URL is none.")
    return {image.pk: url for image, url in zip(images, urls, strict=True) if url}
