"""Webhook endpoints, deliveries to them, and messages received from external workers."""

from processing.webhooks.models.delivery import SLICE_SECONDS, DeliveryStatus, WebhookDelivery
from processing.webhooks.models.endpoint import EVENT_CHOICES, Event, WebhookEndpoint, default_events
from processing.webhooks.models.inbound import InboundMessage

__all__ = [
    "EVENT_CHOICES",
    "SLICE_SECONDS",
    "DeliveryStatus",
    "Event",
    "InboundMessage",
    "WebhookDelivery",
    "WebhookEndpoint",
    "default_events",
]
