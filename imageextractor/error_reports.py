"""Errors reported to Sentry, or to anything that speaks its protocol, with the extra `sentry`."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from imageextractor import __version__


def start(dsn: str) -> None:
    """Report from now on what is logged as an error, and exceptions in web requests.

    Sent are the traceback, the route, and the ids that log lines have; no address, header, body, user or
    local variable, since they may hold secrets. Raises ImproperlyConfigured if the extra is not installed, or
    the DSN is malformed.
    """
    try:
        import sentry_sdk  # noqa: PLC0415 (an extra)
        from sentry_sdk.integrations.django import DjangoIntegration  # noqa: PLC0415
        from sentry_sdk.utils import BadDsn  # noqa: PLC0415
    except ImportError as error:
        raise ImproperlyConfigured("SENTRY_DSN needs the extra `sentry`: pip install sentry-sdk.") from error
    try:
        sentry_sdk.init(
            dsn=dsn,
            release=f"imageextractor@{__version__}",
            before_send=_prepare,
            max_breadcrumbs=0,
            include_local_variables=False,
            auto_enabling_integrations=False,
            integrations=[DjangoIntegration()],
        )
    except BadDsn as error:
        raise ImproperlyConfigured(
            "SENTRY_DSN must be the DSN of a project, such as https://key@sentry.example.com/1."
        ) from error


def _prepare(event: Any, _hint: Any) -> Any:
    """Add the ids of the subject to an event, and take out the request, whose address may be secret."""
    from processing.logs import subject  # noqa: PLC0415 (imports Django's settings, which import this)

    event.pop("request", None)
    event["tags"] = {**event.get("tags", {}), **subject()}
    return event
