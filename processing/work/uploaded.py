"""Pictures that were uploaded with their catalogue, in a ZIP that is stored beside it."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from io import BytesIO
from threading import Lock

from django.conf import settings

from processing import loop
from processing.timing import STORAGE_RETRY_SECONDS
from processing.work.byte_budget import Account
from processing.work.fetch import Fetched, FetchError, Version, fetch_alone
from products.catalogue import ArchivedPictureError, CatalogueError, PictureArchive, is_in_archive
from products.models import Request
from products.models.files import STORAGE_ERRORS, uploads_storage

#: ZIPs that a process keeps open, and their files, of which each takes about a kilobyte of memory.
MAX_OPEN_ARCHIVES, MAX_OPEN_FILES = 32, 100_000


class OpenArchives:
    """The ZIPs that were used last, by their names in the storage. Thread-safe.

    One thread opens a ZIP while the others that need it wait. A ZIP is closed with the last reference to it:
    threads may still read from one that is not kept any more.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._archives: dict[str, Future[PictureArchive]] = {}  # the one used last is the last

    def get(self, name: str) -> PictureArchive:
        """Return a ZIP. Raises CatalogueError, FileNotFoundError and other STORAGE_ERRORS."""
        with self._lock:
            known = self._archives.pop(name, None)
            archive = self._archives[name] = known or Future()
        if not known:
            try:
                archive.set_result(_open(name))
            except BaseException as error:
                archive.set_exception(error)
                self.forget(name)
            self._drop_oldest()
        return archive.result()

    def forget(self, name: str) -> None:
        """Open a ZIP anew when it is needed again."""
        with self._lock:
            self._archives.pop(name, None)

    def _drop_oldest(self) -> None:
        with self._lock:
            files = 0
            for count, (name, archive) in enumerate(reversed([*self._archives.items()]), 1):
                if archive.done() and not archive.exception():
                    files += len(archive.result())
                if count > 1 and (count > MAX_OPEN_ARCHIVES or files > MAX_OPEN_FILES):
                    del self._archives[name]


archives = OpenArchives()


def is_uploaded(batch: Request, url: str) -> bool:
    """Return whether a picture of a Request is in its ZIP."""
    return bool(batch.archive) and is_in_archive(url)


def size_of_uploaded(batch: Request, url: str) -> int:
    """Return the bytes that reading a picture takes. Raises FetchError."""
    with _fetch_errors():
        return min(archives.get(batch.archive).size_of(url), settings.FETCH_MAX_BYTES)


def read_uploaded(batch: Request, url: str) -> Fetched:
    """Return a picture from the ZIP of its Request. Raises FetchError."""
    target = BytesIO()
    with _fetch_errors():
        archives.get(batch.archive).read_picture(url, target, settings.FETCH_MAX_BYTES)
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
    """Raise errors of a ZIP, of a picture in it and of the storage as FetchError."""
    try:
        yield
    except ArchivedPictureError as error:
        raise FetchError(error.code, error.detail, permanent=True) from error
    except CatalogueError as error:
        raise FetchError("corrupt_image", str(error), permanent=True) from error
    except FileNotFoundError as error:
        raise FetchError("http_404", "The uploaded ZIP is no longer stored.", permanent=True) from error
    except STORAGE_ERRORS as error:
        detail = "The uploaded ZIP could not be read."
        raise FetchError("storage", detail, permanent=False, retry_after=STORAGE_RETRY_SECONDS) from error


def _open(name: str) -> PictureArchive:
    storage = uploads_storage()
    # From S3, `open` would download the whole ZIP.
    return PictureArchive(getattr(storage, "open_ranged", storage.open)(name))
