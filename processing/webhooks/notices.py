"""What owners are told about their endpoints by e-mail."""

import logging

from django.conf import settings
from django.core.mail import send_mail

from processing.webhooks.models import WebhookEndpoint

logger = logging.getLogger(__name__)

TEXT = """\
Your webhook endpoint

  {url}

is disabled. {reason}

Nothing is delivered to it until you enable it again:

  {page}

What it misses meanwhile is kept, and can be delivered later from there.
"""


def tell_owner(endpoint: WebhookEndpoint) -> None:
    """Write to the owner of an endpoint that was disabled, if an address is known. A failure is logged."""
    logger.warning("Webhook endpoint %s is disabled: %s", endpoint.pk, endpoint.disabled_reason)
    if not endpoint.owner.email:
        return
    page = f"{settings.PUBLIC_URL}{endpoint.get_absolute_url()}"
    text = TEXT.format(url=endpoint.url, reason=endpoint.disabled_reason, page=page)
    try:
        send_mail("Your webhook endpoint is disabled", text, None, [endpoint.owner.email])
    except OSError:  # smtplib's errors are such
        logger.exception("The owner of webhook endpoint %s could not be written to", endpoint.pk)
