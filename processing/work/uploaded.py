"""Pictures that were uploaded with their catalogue, in a ZIP that is stored beside it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO

from django.conf import settings

from processing import loop
from processing.work.byte_budget import Account
from processing.work.fetch import Fetched, FetchError, Version, fetch_alone
from products.catalogue import ARCHIVE_URL, CatalogueError, MissingPicture, PictureArchive
from products.models import Request
from products.models.files import STORAGE_ERRORS, uploads_storage

#: ZIPs that a process keeps open. From S3 each is a temporary file of up to UPLOAD_MAX_BYTES.
OPEN_ARCHIVES = 4


def is_uploaded(batch: Request, url: str) -> bool:
    """Return whether a picture of a Request is in its ZIP."""
    return bool(batch.archive) and url.startswith(ARCHIVE_URL)


def size_of_uploaded(batch: Request, url: str) -> int:
    """Return the bytes that reading a picture takes. Raises FetchError."""
    with _fetch_errors():
        return min(_opened(batch.archive).size_of(url), settings.FETCH_MAX_BYTES)


def read_uploaded(batch: Request, url: str) -> Fetched:
    """Return a picture from the ZIP of its Request. Raises FetchError."""
    target = BytesIO()
    with _fetch_errors():
        _opened(batch.archive).read_picture(url, target, settings.FETCH_MAX_BYTES)
    data = target.getvalue()
    if not data:
        raise FetchError("not_an_image", "The file in the ZIP is empty.", permanent=True)
    return Fetched(data, Version(url, hashlib.sha256(data).digest()))


def picture_data(batch: Request, url: str, timeout: float, account: Account | None = None) -> bytes:
    """Return a picture of a Request, fetched unless it was uploaded. Raises FetchError.

    Its memory is taken from `account`. Call it outside of the event loop.
    """
    if not is_uploaded(batch, url):
        return fetch_alone(url, timeout=timeout, max_bytes=settings.FETCH_MAX_BYTES, account=account).data
    if account:
        loop.run(account.take(size_of_uploaded(batch, url)))
    return read_uploaded(batch, url).data


@contextmanager
def _fetch_errors() -> Iterator[None]:
    """Raise what is wrong with a ZIP or a picture in it as FetchError."""
    try:
        yield
    except (MissingPicture, CatalogueError) as error:
        raise FetchError("http_404", str(error), permanent=True) from error
    except FileNotFoundError as error:
        raise FetchError("http_404", "The uploaded ZIP is no longer stored.", permanent=True) from error
    except STORAGE_ERRORS as error:
        raise FetchError("storage", "The uploaded ZIP could not be read.", permanent=False) from error


@lru_cache(OPEN_ARCHIVES)
def _opened(name: str) -> PictureArchive:
    # Closed with the last reference to it: other threads may still read when it leaves the cache.
    return PictureArchive(uploads_storage().open(name))
