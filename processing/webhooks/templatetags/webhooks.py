"""Template tags about webhooks, for pages of products, which cannot import processing."""

from typing import Any

from django import template
from django.template.context import RequestContext

from processing.webhooks.models import WebhookDelivery, WebhookEndpoint
from processing.webhooks.pages import has_due
from products.models import Request

register = template.Library()

MAX_SHOWN_DELIVERIES = 10


@register.inclusion_tag("webhooks/_request_deliveries.html", takes_context=True)
def deliveries_of(context: RequestContext, batch: Request) -> dict[str, Any]:
    """Show the latest webhook deliveries of a Request, again and again while they change."""
    visible = WebhookDelivery.objects.visible_to(context["user"]).filter(request=batch)
    deliveries = list(visible.select_related("endpoint")[:MAX_SHOWN_DELIVERIES])
    return {"deliveries": deliveries, "follows": batch.is_active or has_due(deliveries)}


@register.inclusion_tag("webhooks/_endpoint_table.html", takes_context=True)
def own_endpoints(context: RequestContext) -> dict[str, Any]:
    """Show the registered webhook endpoints of the user."""
    return {"endpoints": WebhookEndpoint.objects.registered().filter(owner=context["user"].pk)}
