"""Reports of external workers: the outcome of a Product's pictures."""

import re
import uuid
from collections.abc import Sequence

from django.db import transaction

from processing.webhooks.models import InboundMessage
from products.catalogue import url_problem
from products.lifecycle import Outcome, record
from products.models import Image, Product, Request

#: Separators in a list of URLs as the earlier system wrote it. URLs may contain commas themselves, so a comma
#: separates only if another URL, another comma or the end follows.
_SEPARATORS = re.compile(r",\s*(?=https?://|,|$)", re.IGNORECASE)
REPORTED_FAILURE = "The external worker reported that this picture failed."


class InvalidReport(Exception):
    """The report names no Product, or its URLs do not match the Product's Images."""


def split_urls(text: str) -> list[str]:
    """Split URLs that are joined by commas; an empty position gives an empty string."""
    return [url.strip() for url in _SEPARATORS.split(text)] if text.strip() else []


def apply_report(message_id: str, product_id: uuid.UUID, *, completed: bool, urls: Sequence[str]) -> None:
    """Record the reported outcome of a Product's pending Images, once per message. Raises InvalidReport.

    `urls` correspond to the Product's Images by position; an empty one means that the Image failed. Images
    that are no longer pending and Requests that have ended are not changed.
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
        # Claimed from any worker that holds them. Its own outcomes are then ignored.
        pending = list(batch.images.pending().filter(pk__in=images.values("pk")).select_for_update())
        batch.images.filter(pk__in=[image.pk for image in pending]).update(claimed_by=worker)
        record(batch.pk, (_outcome(image, output_urls.get(image.pk)) for image in pending), worker)


def _outcome(image: Image, output_url: str | None) -> Outcome:
    attempts = image.attempts + 1
    if output_url:
        return Outcome.completed_elsewhere(image.pk, attempts, output_url)
    return Outcome.failed(image.pk, attempts, "crashed", REPORTED_FAILURE)


def _output_urls(product: Product, urls: Sequence[str]) -> dict[uuid.UUID, str]:
    images: list[Image] = product.images_in_order
    if len(urls) != len(images) or (images and not any(urls)):
        raise InvalidReport("The number of URLs does not match the product's pictures.")
    if any(url and url_problem(url) for url in urls):
        raise InvalidReport("A URL is invalid.")
    return {image.pk: url for image, url in zip(images, urls, strict=True) if url}
