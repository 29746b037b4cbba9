"""Validation of the URLs of webhook endpoints."""

import httpx
from django.conf import settings
from django.core.exceptions import ValidationError

from processing.http.guard import is_permitted, literal_address
from products.models.validators import validate_http_url


def validate_webhook_url(value: str) -> None:
    """Raise ValidationError if every delivery to this URL would certainly fail.

    The code is `invalid_url`, or `blocked_address` for an address that webhooks are not sent to. Names are
    not looked up, since they may resolve to another address by the time of a delivery.
    """
    validate_http_url(value)
    try:
        address = literal_address(httpx.URL(value).host)
    except (httpx.InvalidURL, ValueError) as error:  # malformed Punycode
        raise ValidationError("The URL is malformed.", "invalid_url") from error
    if address is not None and not is_permitted(address, settings.WEBHOOK_ALLOWED_NETWORKS):
        message = (
            "Webhooks are only sent to public addresses. Use a public address, or ask whoever runs this "
            "service to allow this one in WEBHOOK_ALLOWED_NETWORKS."
        )
        raise ValidationError(message, "blocked_address")
