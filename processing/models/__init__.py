"""Who works, when who next prunes, what pictures were; who is told of what, and how that went."""

from processing.models.delivery import SLICE_SECONDS, DeliveryStatus, WebhookDelivery
from processing.models.endpoint import EVENT_CHOICES, Event, WebhookEndpoint, default_events
from processing.models.host import PausedHost
from processing.models.inbound import InboundMessage
from processing.models.memory import Known, Memory, Noted
from processing.models.worker import (
    DEAD_AFTER,
    HEARTBEAT,
    PRUNE_EVERY,
    Pruning,
    Resends,
    Worker,
    this_host,
    this_process,
)

__all__ = [
    "DEAD_AFTER",
    "EVENT_CHOICES",
    "HEARTBEAT",
    "PRUNE_EVERY",
    "SLICE_SECONDS",
    "DeliveryStatus",
    "Event",
    "InboundMessage",
    "Known",
    "Memory",
    "Noted",
    "PausedHost",
    "Pruning",
    "Resends",
    "WebhookDelivery",
    "WebhookEndpoint",
    "Worker",
    "default_events",
    "this_host",
    "this_process",
]
