"""Validation of the URLs of feeds."""

from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

from products.models.validators import validate_http_url


def validate_feed_url(url: str) -> None:
    """Raise ValidationError unless a catalogue could be fetched from this URL.

    Names and passwords belong into a header, which is stored encrypted.
    """
    validate_http_url(url)
    if "@" in urlsplit(url).netloc:
        message = "Put the name and the password into an Authorization header, not into the URL."
        raise ValidationError(message, "invalid_url")
