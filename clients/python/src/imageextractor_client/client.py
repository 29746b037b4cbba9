"""The client and the requests that it returns."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Self

import httpx

from imageextractor_client.errors import ApiError
from imageextractor_client.models import Counts, Image, Product, counts

MAX_TRIES = 5
#: Seconds before a call is repeated, doubled each time, unless `Retry-After` says how long to wait.
FIRST_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = 60.0
#: Answers that say that nothing was done, and that the same call may succeed later.
TRY_LATER = {429, 503}
#: Answers of proxies, after which the call may have been done or not.
UNKNOWN = {502, 504}
MIN_POLL_SECONDS, MAX_POLL_SECONDS = 0.5, 5.0

FileName = str | PathLike[str]


class Client:
    """Calls the API of one service as one user. Close it after use, or use it in a `with` block.

    `transport` replaces the network, as in tests. `timeout` is in seconds, for each call.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        timeout: float = 60,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Token {token}"} if token else {}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def upload(self, file: FileName, *, idempotency_key: str | None = None, **options: Any) -> "Request":
        """Upload a catalogue and return its request, which is worked on afterwards.

        Options are those of the API; lists and objects are sent as JSON, None is left out. With an
        `idempotency_key` of yours the same upload returns the same request, in another process too. Raises
        ApiError with every problem if the file is refused.
        """
        key = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return Request(self, self._send_file("/api/requests/", file, options, headers=key))

    def preview(self, file: FileName, **options: Any) -> dict[str, Any]:
        """Return how a catalogue would be read. Nothing is stored or fetched."""
        return self._send_file("/api/requests/preview/", file, options)

    def request(self, id: str) -> "Request":
        """Return one of your requests by its id."""
        return Request(self, self.call("GET", f"/api/requests/{id}/").json())

    def iter_requests(self, **filters: Any) -> Iterator["Request"]:
        """Yield your requests, newest first; filters are those of the API, such as `status` and `q`."""
        return (Request(self, data) for data in self.iter_list("/api/requests/", filters))

    def call(
        self, method: str, path: str, *, may_repeat: bool | None = None, **options: Any
    ) -> httpx.Response:
        """Make a call of the API that has no method of its own, with httpx's options. Raises ApiError.

        A GET, or a call that `may_repeat`, is repeated after a broken connection; any call is after an answer
        that asks to try again later.
        """
        safe = method == "GET" if may_repeat is None else may_repeat
        passing = TRY_LATER | UNKNOWN if safe else TRY_LATER
        for delay in _delays():
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError:
                if delay is None or not safe:
                    raise
            else:
                if response.is_success:
                    return response
                if delay is None or response.status_code not in passing:
                    raise ApiError.from_response(response)
                delay = _retry_after(response) or delay  # noqa: PLW2901
            time.sleep(delay)
        raise AssertionError("unreachable: the last try returns or raises")

    def iter_list(self, path: str, filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list of the API, page by page."""
        url: str | None = str(httpx.URL(path, params=_form(filters)))
        while url:
            page = self.call("GET", url).json()
            yield from page["results"]
            # Its path only: the service may be known by another name than the one it is called by.
            url = httpx.URL(page["next"]).raw_path.decode() if page["next"] else None

    def save(self, path: str, target: FileName, params: dict[str, Any]) -> None:
        """Write a download to a file, which is complete or not there. Raises ApiError."""
        part = Path(f"{target}.part")
        try:
            with self._http.stream("GET", path, params=_form(params)) as response:
                if not response.is_success:
                    response.read()
                    raise ApiError.from_response(response)
                with part.open("wb") as file:
                    for piece in response.iter_bytes():
                        file.write(piece)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _send_file(
        self, path: str, name: FileName, options: dict[str, Any], headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        with Path(name).open("rb") as content:  # which httpx reads from its beginning for each try
            files = {"file": (Path(name).name, content)}
            response = self.call(
                "POST", path, files=files, data=_form(options), headers=headers or {}, may_repeat=True
            )
        data: dict[str, Any] = response.json()
        return data


class Request:
    """One uploaded catalogue, as it was when it was last asked for: `refresh` asks again.

    `data` has all that the API says of it.
    """

    def __init__(self, client: Client, data: dict[str, Any]) -> None:
        self._client = client
        self.data = data

    def __repr__(self) -> str:
        return f"<Request {self.id} {self.status}>"

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def status(self) -> str:
        """`pending`, `processing`, `completed`, `completed_with_errors`, `failed` or `canceled`."""
        return str(self.data["status"])

    @property
    def images(self) -> Counts:
        return counts(self.data["images"])

    @property
    def is_finished(self) -> bool:
        return self.data["finished_at"] is not None

    @property
    def finished_at(self) -> datetime | None:
        at = self.data["finished_at"]
        return datetime.fromisoformat(at) if at else None

    @property
    def webhook_secret(self) -> str | None:
        """The secret that signs events for `webhook_url`, known only right after the upload."""
        return self.data.get("webhook_secret")

    def refresh(self) -> Self:
        """Ask for the present state."""
        self.data = self._client.call("GET", self._path()).json()
        return self

    def wait(
        self, timeout: float | None = None, on_progress: Callable[["Request"], object] | None = None
    ) -> Self:
        """Wait until the request has finished, and call `on_progress` after each look at it.

        Raises TimeoutError after `timeout` seconds; the work goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = MIN_POLL_SECONDS
        while not self.is_finished:
            left = pause if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"Request {self.id} has not finished within {timeout} seconds.")
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, MAX_POLL_SECONDS)
            self.refresh()
            if on_progress:
                on_progress(self)
        return self

    def save_result(self, target: FileName, **params: Any) -> None:
        """Save the result as CSV: `style="replace"`, `style="changes"`, `only="failed"` or `excel=1`."""
        self._client.save(self._path("results.csv"), target, params)

    def save_workbook(self, target: FileName, **params: Any) -> None:
        """Save the result of an XLSX workbook as a workbook, with `style="replace"` if wanted."""
        self._client.save(self._path("results.xlsx"), target, params)

    def save_images(self, target: FileName) -> None:
        """Save all new pictures as a ZIP."""
        self._client.save(self._path("images.zip"), target, {})

    def iter_images(self, **filters: Any) -> Iterator[Image]:
        """Yield the images, page by page; filters are `status`, `code`, `host` and `q`."""
        return map(Image.from_json, self._client.iter_list(self._path("images/"), filters))

    def iter_products(self, **filters: Any) -> Iterator[Product]:
        """Yield the products in the order of the file, page by page, filtered as images are."""
        return map(Product.from_json, self._client.iter_list(self._path("products/"), filters))

    def failures(self) -> list[dict[str, Any]]:
        """Return the failures by cause and host, most frequent first, each with advice."""
        results: list[dict[str, Any]] = self._client.call("GET", self._path("failures/")).json()["results"]
        return results

    def retry(self, **selection: Any) -> Self:
        """Try failed and canceled images again: all, or by `code`, `host` or `images` (ids)."""
        self.data = self._client.call("POST", self._path("retry/"), json=selection).json()
        return self

    def cancel(self) -> Self:
        """Cancel what is not done yet."""
        self.data = self._client.call("POST", self._path("cancel/")).json()
        return self

    def delete(self) -> None:
        """Delete the request with its results."""
        self._client.call("DELETE", self._path())

    def _path(self, name: str = "") -> str:
        return f"/api/requests/{self.id}/{name}"


def _delays() -> Iterator[float | None]:
    """Yield the seconds after each try, None after the last one."""
    for number in range(MAX_TRIES - 1):
        yield FIRST_DELAY_SECONDS * 2**number
    yield None


def _retry_after(response: httpx.Response) -> float | None:
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), MAX_DELAY_SECONDS) if seconds.isdecimal() else None


def _form(options: dict[str, Any]) -> dict[str, str]:
    """Return options as form fields: yes and no in words, lists and objects as JSON."""
    return {name: _text(value) for name, value in options.items() if value is not None}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
