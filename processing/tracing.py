"""Spans of lanes, pictures and HTTP requests, while OpenTelemetry is on.

`imageextractor/traces.py` turns it on. While it is off, nothing of it is imported, and a span costs one
comparison.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import httpx

from processing import logs

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Instrument = Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport]

_NO_SPAN: AbstractContextManager[None] = nullcontext()
_tracer: Any = None
_instrument: Instrument | None = None


def is_wanted() -> bool:
    """Return whether the variables of OpenTelemetry name a receiver of traces, and none turns them off."""
    exporter = os.environ.get("OTEL_TRACES_EXPORTER") or (
        "otlp" if any(map(os.environ.get, ENDPOINT_VARIABLES)) else "none"
    )
    return exporter == "otlp" and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def start(tracer: Any, instrument: Instrument) -> None:
    """Record spans by a tracer of OpenTelemetry; `instrument` adds spans to the requests of a transport."""
    global _tracer, _instrument
    _tracer, _instrument = tracer, instrument


def span(name: str, **options: Any) -> AbstractContextManager[Any]:
    """Record the block as a span, a child of the current one, with the ids of log lines as attributes.

    The block gets the span, or None while OpenTelemetry is off. An exception marks the span as failed.
    """
    if _tracer is None:
        return _NO_SPAN
    made: AbstractContextManager[Any] = _tracer.start_as_current_span(
        name, attributes=ids(), record_exception=False, **options
    )
    return made


def set_outcome(span: Any, status: str, error_code: str) -> None:
    """Add the outcome of a picture to its span."""
    span.set_attribute("imageextractor.status", status)
    if error_code:
        span.set_attribute("error.type", error_code)


def ids() -> dict[str, str]:
    """Return the ids of log lines as attributes of a span."""
    return {f"imageextractor.{name}": value for name, value in logs.subject().items()}


def traced(transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Return the transport, while OpenTelemetry is on with a span for each request."""
    return _instrument(transport) if _instrument else transport
