"""What a log line says besides its message: which request, lane and image it is about.

`about()` holds for the lines of its thread. It begins where work begins: with an HTTP request, with a message
that a worker takes up, with a picture.
"""

import inspect
import json
import logging
import time
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
#: What the id in a path is of, by the path's first part.
PATHS = {
    "requests": "request_id",
    "status": "request_id",
    "images": "image_id",
    "webhooks": "endpoint_id",
    "deliveries": "delivery_id",
}
#: Asked every few seconds by machines.
UNLOGGED = {"/healthz", "/readyz", "/metrics"}
#: What ends a line or moves a terminal's cursor, as Python writes it.
CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


@contextmanager
def about(**ids: Any) -> Iterator[None]:
    """Lines from here to the end of the block are about these, too. None is left out."""
    known = {name: str(value) for name, value in ids.items() if value is not None}
    token = _subject.set({**_subject.get(), **known})
    try:
        yield
    finally:
        _subject.reset(token)


def subject() -> Mapping[str, str]:
    """What lines are about here and now."""
    return _subject.get()


class TextFormatter(logging.Formatter):
    """Lines for people: the ids follow the message. Nothing in a message can pass for a line of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        ids = " ".join(f"{name}={value}" for name, value in _subject.get().items())
        return (super().formatMessage(record) + (f" [{ids}]" if ids else "")).translate(CONTROLS)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

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
        return json.dumps(line, ensure_ascii=False)


class AccessLogMiddleware:
    """A line for each HTTP request, and what its path is about in every line until it is answered."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.monotonic()
        with about(**_ids_in(request.path)):
            response = self.get_response(request)
            if request.path not in UNLOGGED:
                took = f"{1000 * (time.monotonic() - started):.0f}"
                with about(method=request.method, path=request.path, status=response.status_code, ms=took):
                    access.info("%s %s", request.method, request.path)
        return response


def _ids_in(path: str) -> dict[str, str]:
    kind, _, rest = path.removeprefix("/api").lstrip("/").partition("/")
    key = rest.partition("/")[0]
    return {PATHS[kind]: key} if kind in PATHS and key else {}


class MessageMiddleware(dramatiq.Middleware):
    """While a worker is at a message, its lines are about the message's arguments, by their names.

    A lane is the same one in all its slices, each of which is a message.
    """

    def before_process_message(self, broker: Any, message: Any) -> None:
        names = inspect.signature(broker.get_actor(message.actor_name).fn).parameters
        ids = dict(zip(names, map(str, message.args), strict=False))
        if message.actor_name == "work":
            ids["lane"] = message.options.get("lane") or message.message_id
        _subject.set({"actor": message.actor_name, **ids})

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        _subject.set({})
