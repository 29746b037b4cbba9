"""Traces by OpenTelemetry, with the extra `otel`. The settings import this where variables turn it on.

A trace begins with an HTTP request, which may continue the trace of a proxy. The messages that it sends carry
the trace to workers, where each slice of a lane is a span, with a child for each picture. Requests to other
servers carry no headers of the trace.
"""

import os
import re
from contextvars import ContextVar
from typing import Any

import dramatiq
import httpx
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from imageextractor import __version__
from processing import logs, tracing

#: Monitoring calls these every few seconds.
UNTRACED_PATHS = r"/(healthz|readyz|metrics)$"
#: How long the end of a worker waits until the remaining spans are sent.
FLUSH_MILLISECONDS = 5000
#: Attributes that contain addresses, by the new and the old semantic conventions.
ADDRESSES = ("url.full", "url.path", "http.url", "http.target")
#: The link by which the first account is set up. The log shows it on purpose, traces do not.
_SETUP_PATH = re.compile(r"(?<=/account/setup/)\S+")

_headers = TraceContextTextMapPropagator()
#: The headers of the trace that the message in hand carries, and its open span.
_carried: ContextVar[dict[str, str]] = ContextVar("carried", default={})  # noqa: B039 (never changed)
_open: ContextVar[Any] = ContextVar("open")


def start() -> None:
    """Send traces from now on, as the variables of OpenTelemetry say.

    Raises ImproperlyConfigured for a protocol that is not supported.
    """
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if os.environ.get(name, "http/protobuf") != "http/protobuf":
            raise ImproperlyConfigured(f"{name} must be http/protobuf, the protocol of port 4318.")
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    ours = {"service.name": "imageextractor", "service.version": __version__}
    resource = Resource.create(ours | dict(OTELResourceDetector().detect().attributes))
    provider = TracerProvider(resource=resource)
    provider.sampler = WithinTraces(provider.sampler)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    propagate.set_global_textmap(ExtractOnly(propagate.get_global_textmap()))
    PsycopgInstrumentor().instrument()
    RedisInstrumentor().instrument()
    tracing.start(trace.get_tracer("imageextractor", __version__), instrument_transport)


def instrument_django() -> None:
    """Record HTTP requests, but not those of static files. Call it once the settings are loaded."""
    position = settings.MIDDLEWARE.index("processing.logs.AccessLogMiddleware") + 1
    DjangoInstrumentor().instrument(
        middleware_position=position, excluded_urls=UNTRACED_PATHS, request_hook=_prepare
    )


def instrument_transport(transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Return a transport that records each request."""

    async def prepare(span: Any, request: Any) -> None:
        _prepare(span)
        if span.is_recording():  # chats, feeds and receivers of results have their secrets in paths
            origin = f"{request.url.scheme}://{request.url.netloc.decode()}/"
            span.set_attributes({name: origin for name in ADDRESSES if name in span.attributes})

    return AsyncOpenTelemetryTransport(transport, request_hook=prepare)


def _prepare(span: Any, _request: Any = None) -> None:
    """Add the ids of log lines to a span, and take secrets out of its addresses."""
    if span.is_recording():
        known = span.attributes
        span.set_attributes(tracing.ids())
        hidden = {name: known[name].partition("?")[0] for name in ADDRESSES if name in known}
        span.set_attributes({name: _without_secrets(address) for name, address in hidden.items()})
        if "url.query" in known:
            span.set_attribute("url.query", "")


def _without_secrets(address: str) -> str:
    return _SETUP_PATH.sub("…", logs.without_secrets(address))


class WithinTraces(Sampler):
    """Leaves out queries and commands outside of a trace, since idle workers poll.

    For all else it asks another sampler.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        *args: Any,
        **options: Any,
    ) -> SamplingResult:
        is_root = not trace.get_current_span(parent_context).get_span_context().is_valid
        if is_root and kind == SpanKind.CLIENT:
            return SamplingResult(Decision.DROP)
        return self._sampler.should_sample(parent_context, trace_id, name, kind, *args, **options)

    def get_description(self) -> str:
        return f"WithinTraces({self._sampler.get_description()})"


class ExtractOnly(TextMapPropagator):
    """Continues the traces of requests, but adds no headers: origins and webhooks belong to others."""

    def __init__(self, propagator: TextMapPropagator) -> None:
        self._propagator = propagator

    def extract(self, carrier: Any, context: Context | None = None, *args: Any, **options: Any) -> Context:
        return self._propagator.extract(carrier, context, *args, **options)

    def inject(self, carrier: Any, context: Context | None = None, *args: Any, **options: Any) -> None:
        """Add nothing."""

    @property
    def fields(self) -> set[str]:
        return set()


class MessageMiddleware(dramatiq.Middleware):
    """Processes each message in a span of the trace that it carries.

    What a message sends carries the same trace with the same parent, so that the slices of a lane are side by
    side.
    """

    def before_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:
        if "traceparent" not in message.options:
            carried = dict(_carried.get())
            if not carried:
                _headers.inject(carried)
            message.options.update(carried)

    def before_process_message(self, broker: Any, message: Any) -> None:
        carried = {name: message.options[name] for name in _headers.fields if name in message.options}
        _carried.set(carried)
        span = tracing.span(message.actor_name, context=_headers.extract(carried), kind=SpanKind.CONSUMER)
        span.__enter__()
        _open.set(span)

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        _carried.set({})
        _open.get().__exit__(None, None, None)

    def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
        """Send what is left: the processes of `rundramatiq` end without further notice."""
        provider = trace.get_tracer_provider()
        if isinstance(provider, TracerProvider):
            provider.force_flush(FLUSH_MILLISECONDS)
