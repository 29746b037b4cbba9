"""What staff see of the work."""

import django_dramatiq.admin  # noqa: F401 (registers Task, so that it can be taken out below)
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django_dramatiq.models import Task

from processing.models import DEAD_AFTER, WebhookDelivery, WebhookEndpoint, Worker
from products.admin import ReadOnlyAdmin

# Its middleware is not used, so that its table stays empty.
admin.site.unregister(Task)


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ["host", "pid", "alive", "started_at", "seen_at"]
    search_fields = ["host"]

    @admin.display(boolean=True)
    def alive(self, worker: Worker) -> bool:
        return worker.seen_at > timezone.now() - DEAD_AFTER


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    """Without its secrets, which nobody sees a second time."""

    list_display = ["url", "owner", "enabled", "failing_since", "disabled_reason", "created_at"]
    list_filter = ["enabled"]
    list_select_related = ["owner"]
    search_fields = ["url", "owner__username"]
    fields = [
        *("owner", "request", "url", "description", "events", "enabled", "disabled_reason"),
        *("failing_since", "resume_at", "created_at"),
    ]
    actions = ["enable", "disable"]

    def has_control_permission(self, request: HttpRequest) -> bool:
        """May the user switch endpoints? Django's own right to change one says so."""
        return request.user.has_perm("processing.change_webhookendpoint")

    @admin.action(description="Enable", permissions=["control"])
    def enable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset:
            endpoint.enable()
        self.message_user(request, f"Endpoints that are enabled: {len(queryset)}.", messages.SUCCESS)

    @admin.action(description="Disable", permissions=["control"])
    def disable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        count = sum(endpoint.disable("Staff have disabled it.") for endpoint in queryset)
        self.message_user(request, f"Endpoints that were disabled: {count}.", messages.SUCCESS)


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_display = ["event", "endpoint", "status", "failures", "next_attempt_at", "created_at"]
    list_filter = ["status", "event"]
    list_select_related = ["endpoint"]
    search_fields = ["endpoint__url"]
    actions = ["redeliver"]

    def has_control_permission(self, request: HttpRequest) -> bool:
        """May the user deliver again? Django's own right to change a delivery says so."""
        return request.user.has_perm("processing.change_webhookdelivery")

    @admin.action(description="Deliver again", permissions=["control"])
    def redeliver(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        count = queryset.redeliver()  # type: ignore[attr-defined]  # the model's own queryset
        self.message_user(request, f"Deliveries that go out again: {count}.", messages.SUCCESS)
