"""One attempt to deliver: a signed POST through the guarded client."""

import asyncio
import time
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import httpx
from django.conf import settings
from django.utils import timezone

from processing import loop, tracing
from processing.http.errors import classify, retry_after
from processing.http.transport import GuardedTransport
from processing.webhooks.signing import signed_headers

#: Characters of a response body that are kept, and bytes that are read for them. UTF-8 has up to four each.
MAX_RESPONSE_CHARACTERS = 1000
MAX_RESPONSE_BYTES = 4 * MAX_RESPONSE_CHARACTERS
USER_AGENT = "ImageExtractor-Webhooks/1.0"
MAX_CONNECTIONS = 64

#: Errors after which the endpoint is paused, since its receiver is overloaded or down.
OVERLOAD_ERRORS = {"connect", "timeout", "http_429", "http_502", "http_503", "http_504"}


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """The outcome of one attempt to deliver.

    `error` is "" after a success, else one of `blocked_address dns connect timeout tls invalid_url secret
    redirect http_<status>`. `response` is the beginning of the response body. `retry_after` is in seconds.
    """

    at: datetime
    ms: int = 0
    status: int | None = None
    response: str = ""
    error: str = ""
    retry_after: float | None = None

    @property
    def succeeded(self) -> bool:
        return not self.error

    @property
    def is_gone(self) -> bool:
        """True if the receiver responded that it wants no more messages."""
        return self.status == httpx.codes.GONE

    @property
    def is_overloaded(self) -> bool:
        """True if the receiver is overloaded or down, so that all its deliveries have to pause."""
        return not self.succeeded and (self.error in OVERLOAD_ERRORS or self.retry_after is not None)

    def as_json(self) -> dict[str, Any]:
        """Return the attempt as it is stored with its delivery and shown by the API."""
        return {
            "at": self.at.isoformat(),
            "status": self.status,
            "ms": self.ms,
            "answer": self.response,
            "error": self.error,
        }


@cache
def shared_transport() -> httpx.AsyncBaseTransport:
    """Return the transport that this process shares. Call it in the event loop, so that there is one only."""
    return tracing.traced(
        GuardedTransport(allowed_networks=settings.WEBHOOK_ALLOWED_NETWORKS, max_connections=MAX_CONNECTIONS)
    )


def send(
    transport: httpx.AsyncBaseTransport, url: str, secrets: list[str], message_id: str, body: bytes
) -> DeliveryAttempt:
    """POST a message once, signed with each secret, within WEBHOOK_TIMEOUT seconds.

    Redirects are not followed.
    """
    at = timezone.now()
    headers = {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": USER_AGENT,
        **(signed_headers(secrets, message_id, int(at.timestamp()), body) if secrets else {}),
    }
    try:
        request = httpx.Request("POST", url, content=body, headers=headers)
    except (httpx.InvalidURL, ValueError):
        return DeliveryAttempt(at, error="invalid_url")
    return loop.run(_post(transport, request, at))


async def _post(transport: httpx.AsyncBaseTransport, request: httpx.Request, at: datetime) -> DeliveryAttempt:
    started_at = time.monotonic()
    ends_at = asyncio.get_running_loop().time() + settings.WEBHOOK_TIMEOUT
    try:
        async with asyncio.timeout_at(ends_at):
            response = await transport.handle_async_request(request)
    except TimeoutError:
        return DeliveryAttempt(at, _ms_since(started_at), error="timeout")
    except httpx.HTTPError as error:
        return DeliveryAttempt(at, _ms_since(started_at), error=classify(error).code)
    async with aclosing(response):
        status, text = response.status_code, await _beginning(response, ends_at)
        wait = retry_after(response)
        return DeliveryAttempt(at, _ms_since(started_at), status, text, _status_error(status), wait)


def _ms_since(started_at: float) -> int:
    return round((time.monotonic() - started_at) * 1000)


def _status_error(status: int) -> str:
    if httpx.codes.is_success(status):
        return ""
    return "redirect" if httpx.codes.is_redirect(status) else f"http_{status}"


async def _beginning(response: httpx.Response, ends_at: float) -> str:
    """Read the first characters of the body. Errors are ignored, since the status is known already."""
    data = b""
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout_at(ends_at):
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) >= MAX_RESPONSE_BYTES:
                    break
    return data[:MAX_RESPONSE_BYTES].decode(errors="replace").replace("\0", "")[:MAX_RESPONSE_CHARACTERS]
