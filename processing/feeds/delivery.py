"""One attempt to deliver the latest result of a feed: by PUT to a URL, or to storage under a fixed key."""

import asyncio
import base64
import logging
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from tempfile import TemporaryFile
from typing import BinaryIO
from uuid import UUID

import httpx
from django.core.files import File
from django.core.files.storage import storages

from processing import loop
from processing.timing import STORAGE_RETRY_SECONDS
from processing.webhooks.delivery_attempt import shared_transport
from processing.webhooks.delivery_queue import retry_delay
from processing.work.fetch import FetchError, fetch_error, status_error
from products.encryption import UnreadableSecret
from products.feeds import deliveries
from products.feeds.latest import ResultChanged, latest_result
from products.feeds.models import STORAGE, FeedDelivery
from products.models import Request
from products.models.files import StorageUnavailable, storage_checked

logger = logging.getLogger(__name__)

#: For the whole result; it may be much larger than a webhook.
PUT_SECONDS = 300
#: The folder of results in storage.
RESULTS = "results"
PIECE_BYTES = 256 * 1024
USER_AGENT = "ImageExtractor-Feeds/1.0"
UNREADABLE_TARGET = "The URL cannot be decrypted, because SECRET_KEY was changed. Enter it again."
MISSING_SOURCE = "The catalogue of the latest result is missing in storage."
NO_RESULT = "The feed has no result any more."
INTERNAL_ERROR = "The result could not be delivered because of an internal error."


def deliver(delivery: FeedDelivery) -> None:
    """Deliver the latest result for a claimed delivery once. Every error becomes an outcome."""
    try:
        batch = delivery.feed.latest
        if not batch:
            deliveries.give_up(delivery, NO_RESULT)
        elif batch.sweep and not batch.is_active:  # the rows of a canceled retry are being changed
            deliveries.wait(delivery, STORAGE_RETRY_SECONDS)
        else:
            _deliver(delivery, batch)
            deliveries.succeed(delivery)
    except ResultChanged:
        deliveries.wait(delivery, 0)
    except FetchError as error:
        _retry(delivery, error.detail, error.retry_after)
    except StorageUnavailable as error:
        _retry(delivery, error.detail)
    except UnreadableSecret:
        deliveries.give_up(delivery, UNREADABLE_TARGET)
    except FileNotFoundError:
        deliveries.give_up(delivery, MISSING_SOURCE)
    except Exception:
        logger.exception("Unexpected error with the delivery of feed %s", delivery.feed_id)
        _retry(delivery, INTERNAL_ERROR)


def result_key(feed_id: UUID) -> str:
    """Return the key under which the results of a feed are stored."""
    return f"{RESULTS}/{feed_id}/latest.csv"


def _deliver(delivery: FeedDelivery, batch: Request) -> None:
    target = delivery.target
    with TemporaryFile() as file:  # whole before it is sent: the receiver has to know its length
        with storage_checked():
            file.writelines(latest_result(batch))
        file.seek(0)
        if target == STORAGE:
            with storage_checked():
                storages["results"].save(result_key(delivery.feed_id), File(file))
        else:
            _put(target, file)


def _put(target: str, file: BinaryIO) -> None:
    """PUT a file to a URL. Redirects are not followed. Raises FetchError."""
    try:
        url = httpx.URL(target)
        headers = {
            "Content-Type": "text/csv",
            "Content-Length": str(os.fstat(file.fileno()).st_size),
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        }
        if url.userinfo:
            credentials = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
            headers["Authorization"] = f"Basic {credentials}"
        request = httpx.Request("PUT", url.copy_with(userinfo=b""), headers=headers, content=_pieces(file))
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchError("invalid_url", "The URL is malformed.", permanent=True) from error
    loop.run(_send(loop.call(shared_transport), request))


async def _send(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> None:
    host = request.url.host
    try:
        async with (
            asyncio.timeout(PUT_SECONDS),
            aclosing(await transport.handle_async_request(request)) as response,
        ):
            if not response.is_success:
                raise status_error(response, host)
    except TimeoutError as error:
        detail = f"{host} took longer than {PUT_SECONDS} seconds."
        raise FetchError("timeout", detail, permanent=False) from error
    except httpx.HTTPError as error:
        raise fetch_error(error, host, "WEBHOOK_ALLOWED_NETWORKS") from error


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield piece


def _retry(delivery: FeedDelivery, detail: str, retry_after: float | None = None) -> None:
    """Try again as webhooks are, or give up after the last attempt."""
    delay = retry_delay(delivery.failures + 1, retry_after)
    if delay is None:
        deliveries.give_up(delivery, detail)
    else:
        deliveries.postpone(delivery, delay, detail)
