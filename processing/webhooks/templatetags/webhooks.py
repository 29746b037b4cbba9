"""Template tags about webhooks, for pages of products, which cannot import processing."""

from typing import Any

from django import template
from django.template.context import RequestContext

from processing.webhooks.models import WebhookEndpoint

register = template.Library()


@register.inclusion_tag("webhooks/_endpoint_table.html", takes_context=True)
def own_endpoints(context: RequestContext) -> dict[str, Any]:
    """Show the registered webhook endpoints of the user."""
    return {"endpoints": WebhookEndpoint.objects.registered().filter(owner=context["user"].pk)}
