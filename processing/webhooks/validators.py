"""Which URLs an endpoint may have."""

import ipaddress

import httpx
from django.conf import settings
from django.core.exceptions import ValidationError

from processing.http.guard import is_permitted
from products.models.validators import validate_http_url


def validate_webhook_url(value: str) -> None:
    """Raise ValidationError if every delivery to this URL would certainly fail.

    The code is `invalid_url`, or `blocked_address` for an address that webhooks are not sent to. Names are
    not looked up, since they may resolve to another address by the time of a delivery.
    """
    validate_http_url(value)
    try:
        name = httpx.URL(value).host.rstrip(".").lower()
    except (httpx.InvalidURL, ValueError) as error:  # malformed Punycode
        raise ValidationError("The URL is malformed.", "invalid_url") from error
    try:
        address = ipaddress.ip_address("127.0.0.1" if name.split(".")[-1] == "localhost" else name)
    except ValueError:
        return
    if not is_permitted(address, settings.WEBHOOK_ALLOWED_NETWORKS):
        message = (
            "Webhooks are only sent to public addresses. Use a public address, or ask whoever runs this "
            "service to allow this one in WEBHOOK_ALLOWED_NETWORKS."
        )
        raise ValidationError(message, "blocked_address")
