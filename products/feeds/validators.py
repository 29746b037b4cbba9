"""Validation of the URLs of feeds."""

import re
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

from products.feeds.models import HIDDEN, STORAGE
from products.models.validators import validate_http_url

_CREDENTIALS = re.compile(r"(?i)^(https?://)[^/?#@]*@")


def validate_target(target: str) -> None:
    """Raise ValidationError unless results could be delivered to this target: STORAGE, or a URL."""
    if target == STORAGE:
        return
    validate_http_url(_CREDENTIALS.sub(r"\1", target))
    parts = urlsplit(target)
    if HIDDEN in (parts.query, parts.username):
        message = f"What is shown as {HIDDEN} is secret and not shown again. Enter the whole URL."
        raise ValidationError(message, "invalid_url")


def validate_feed_url(url: str) -> None:
    """Raise ValidationError unless a catalogue could be fetched from this URL.

    Names and passwords belong into a header, which is stored encrypted.
    """
    validate_http_url(url)
    if "@" in urlsplit(url).netloc:
        message = "Put the name and the password into an Authorization header, not into the URL."
        raise ValidationError(message, "invalid_url")
