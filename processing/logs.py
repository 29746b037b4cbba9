"""Log formats, and the ids of requests, lanes and images in log lines.

`about()` adds ids to the lines of its context: an HTTP request, a message of the queue, or a picture. The id
of an HTTP request goes with the messages that it sends, and so to the pictures of an upload.
"""

import inspect
import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import dramatiq
from django.http import HttpRequest, HttpResponseBase

access = logging.getLogger("access")

_subject: ContextVar[Mapping[str, str]] = ContextVar("subject", default=MappingProxyType({}))
#: Names of ids in log lines, by the first part of the path that contains the id.
ID_NAMES = {
    "requests": "request_id",
    "status": "request_id",
    "images": "image_id",
    "webhooks": "endpoint_id",
    "deliveries": "delivery_id",
    "feeds": "feed_id",
}
#: Monitoring calls these every few seconds.
UNLOGGED_PATHS = {"/healthz", "/readyz", "/metrics"}
#: Whoever has the address of a feed's latest result or of a shared request may open it.
_SECRET_PATH = re.compile(r"(/feeds/[^/\s]+/)[^/\s]+(?=/latest\.csv)|(/share/[^/\s]+/)[^/\s]+")
#: Ids of HTTP requests that are taken over from a proxy, and the header in which W3C Trace Context has one.
_HTTP_REQUEST_ID = re.compile(r"[\w.:+/=@-]{1,128}", re.ASCII)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
#: Escapes of characters that end a line or move a terminal's cursor, by code point.
CONTROL_ESCAPES = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


@contextmanager
def about(**ids: Any) -> Iterator[None]:
    """Add ids to the log lines of the block; an id that is None is left out."""
    known = {name: str(value) for name, value in ids.items() if value is not None}
    token = _subject.set({**_subject.get(), **known})
    try:
        yield
    finally:
        _subject.reset(token)


def subject() -> Mapping[str, str]:
    """Return the ids that are added to log lines now."""
    return _subject.get()


class TextFormatter(logging.Formatter):
    """Lines for people, with the ids after the message.

    Control characters are escaped, so that no message can forge a line.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        ids = " ".join(f"{name}={value}" for name, value in _subject.get().items())
        line = super().formatMessage(record) + (f" [{ids}]" if ids else "")
        return without_secrets(line).translate(CONTROL_ESCAPES)


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **_subject.get(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return without_secrets(json.dumps(line, ensure_ascii=False))


def without_secrets(line: str) -> str:
    """Return a line without the secret parts of addresses in it."""
    return _SECRET_PATH.sub(r"\1\2…", line)


class AccessLogMiddleware:
    """Logs each HTTP request, and adds its id and that in its path to all lines until the response.

    Its own id is that of the proxy in front, if one sends any, and is returned as `X-Request-ID`.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started_at = time.monotonic()
        kind, _, rest = request.path.removeprefix("/api").lstrip("/").partition("/")
        key = rest.partition("/")[0]
        named = {ID_NAMES[kind]: key} if key and kind in ID_NAMES else {}
        with about(http_request_id=(http_request_id := _http_request_id(request)), **named):
            response = self.get_response(request)
            response["X-Request-ID"] = http_request_id
            if request.path not in UNLOGGED_PATHS:
                took = f"{1000 * (time.monotonic() - started_at):.0f}"
                with about(method=request.method, path=request.path, status=response.status_code, ms=took):
                    access.info("%s %s", request.method, request.path)
        return response


def _http_request_id(request: HttpRequest) -> str:
    """Return the id that a proxy has given to a request, or a new one."""
    given = request.headers.get("X-Request-ID", "")
    if _HTTP_REQUEST_ID.fullmatch(given):
        return given
    trace = _TRACEPARENT.match(request.headers.get("traceparent", ""))
    return trace[1] if trace else uuid.uuid4().hex


class MessageMiddleware(dramatiq.Middleware):
    """Adds the names and values of a message's arguments to all lines while a worker processes it.

    All messages of a lane have the same `lane`, and all that an HTTP request leads to its `http_request_id`.
    """

    def before_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:
        if http_request_id := _subject.get().get("http_request_id"):
            message.options.setdefault("http_request_id", http_request_id)

    def before_process_message(self, broker: Any, message: Any) -> None:
        names = inspect.signature(broker.get_actor(message.actor_name).fn).parameters
        ids = dict(zip(names, map(str, message.args), strict=False))
        if http_request_id := message.options.get("http_request_id"):
            ids["http_request_id"] = http_request_id
        if message.actor_name == "work":
            ids["lane"] = message.options.get("lane") or message.message_id
        _subject.set({"actor": message.actor_name, **ids})

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        _subject.set({})
