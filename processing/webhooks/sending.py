"""One attempt to deliver: a signed POST to an address that may be connected to."""

import time
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import httpx
from django.conf import settings
from django.utils import timezone

from processing.http.deadline import deadline
from processing.http.guard import BlockedAddress, TLSError, UnresolvedName
from processing.http.headers import retry_after
from processing.http.transport import guarded_client
from processing.webhooks.signing import signed_headers

#: Characters of an answer that are kept, and the bytes that are read for them: UTF-8 has up to four each.
ANSWER_CHARACTERS = 1000
ANSWER_BYTES = 4 * ANSWER_CHARACTERS
USER_AGENT = "ImageExtractor-Webhooks/1.0"
MAX_CONNECTIONS = 64

#: Errors that say that a receiver has too much to do.
TROUBLE = {"connect", "timeout", "http_429", "http_502", "http_503", "http_504"}


class SendError(Exception):
    """Why there was no answer, as one of the codes of an Attempt."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Attempt:
    """What has come of an attempt.

    `error` is "" after a success, else one of `blocked_address dns connect timeout tls invalid_url secret
    redirect http_<status>`; `answer` the first characters of the body; `retry_after` is in seconds.
    """

    at: datetime
    ms: int
    status: int | None = None
    answer: str = ""
    error: str = ""
    retry_after: float | None = None

    @property
    def succeeded(self) -> bool:
        return not self.error

    @property
    def is_gone(self) -> bool:
        """The receiver wants nothing more, ever."""
        return self.status == 410

    @property
    def is_in_trouble(self) -> bool:
        """The receiver is better left alone for a while."""
        return self.error in TROUBLE or self.retry_after is not None

    def as_json(self) -> dict[str, Any]:
        """As it is kept with its delivery."""
        return {
            "at": self.at.isoformat(),
            "status": self.status,
            "ms": self.ms,
            "answer": self.answer,
            "error": self.error,
        }


@cache
def shared_client() -> httpx.Client:
    """The client of this process, for all of its threads."""
    return guarded_client(
        allowed_networks=settings.WEBHOOK_ALLOWED_NETWORKS,
        user_agent=USER_AGENT,
        max_connections=MAX_CONNECTIONS,
    )


def send(client: httpx.Client, url: str, secrets: list[str], message_id: str, body: bytes) -> Attempt:
    """POST a message once, within WEBHOOK_TIMEOUT seconds. Redirects are not followed."""
    at, began = timezone.now(), time.monotonic()
    headers = {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        **signed_headers(secrets, message_id, int(at.timestamp()), body),
    }
    try:
        with deadline(settings.WEBHOOK_TIMEOUT), closing(_post(client, url, headers, body)) as response:
            status, wait = response.status_code, retry_after(response)
            answer = _beginning(response)
    except SendError as error:
        return Attempt(at, _ms_since(began), error=error.code)
    return Attempt(at, _ms_since(began), status, answer, _verdict(status), wait)


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _post(client: httpx.Client, url: str, headers: dict[str, str], body: bytes) -> httpx.Response:
    try:
        request = client.build_request(
            "POST", url, content=body, headers=headers, timeout=settings.WEBHOOK_TIMEOUT
        )
    except (httpx.InvalidURL, ValueError) as error:
        raise SendError("invalid_url") from error
    try:
        return client.send(request, stream=True, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise SendError(_code(error)) from error


def _code(error: Exception) -> str:
    match error:
        case BlockedAddress():
            return "blocked_address"
        case UnresolvedName():
            return "dns"
        case TLSError():
            return "tls"
        case httpx.TimeoutException():
            return "timeout"
        case httpx.HTTPError() if not isinstance(error.__context__, httpx.InvalidURL):
            return "connect"
        case _:  # httpx reads `Location` even when it is not to follow it, and stumbles over a bad one
            return "redirect"


def _verdict(status: int) -> str:
    if httpx.codes.is_success(status):
        return ""
    return "redirect" if httpx.codes.is_redirect(status) else f"http_{status}"


def _beginning(response: httpx.Response) -> str:
    """The first characters of the body. What cannot be read in time changes nothing: the status counts."""
    data = b""
    with suppress(httpx.HTTPError):
        for chunk in response.iter_raw():
            data += chunk
            if len(data) >= ANSWER_BYTES:
                break
    return data[:ANSWER_BYTES].decode(errors="replace").replace("\0", "")[:ANSWER_CHARACTERS]
