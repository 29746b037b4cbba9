"""Admin of endpoints and deliveries, and of Requests with their deliveries."""

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminTextInputWidget
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from processing.webhooks.events import redeliver, republish
from processing.webhooks.models import WebhookDelivery, WebhookEndpoint
from products.admin.base import EMPTY_VALUE, ActionAdmin, is_confirmed, link, link_to, list_url
from products.admin.requests import RequestAdmin
from products.models import Request


class ReasonForm(forms.Form):
    """The reason to disable endpoints."""

    reason = forms.CharField(
        max_length=WebhookEndpoint._meta.get_field("disabled_reason").max_length,
        initial="A staff member disabled it.",
        widget=AdminTextInputWidget,
        help_text="Shown to the owner.",
    )


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ActionAdmin):
    """Endpoints, without their secrets."""

    list_display = ["url", "owner", "enabled", "failing_since", "disabled_reason", "created_at"]
    list_filter = ["enabled"]
    list_select_related = ["owner"]
    search_fields = ["url", "owner__username"]
    search_help_text = "Search by URL or owner."
    fields = [
        *("owner", "of_request", "url", "kind", "description", "events", "enabled"),
        "disabled_reason",
        *("failing_since", "resume_at", "created_at", "delivered"),
    ]
    readonly_fields = ["of_request", "delivered"]
    actions = ["enable", "disable"]

    def available_actions(self, row: WebhookEndpoint) -> list[str]:
        return ["disable" if row.enabled else "enable"]

    @admin.display(description="for one request")
    def of_request(self, endpoint: WebhookEndpoint) -> SafeString | str:
        return link_to(endpoint.request) if endpoint.request else EMPTY_VALUE

    @admin.display(description="deliveries")
    def delivered(self, endpoint: WebhookEndpoint) -> SafeString:
        return link(list_url(WebhookDelivery, endpoint__id__exact=endpoint.pk), "Deliveries")

    @admin.action(description="Enable", permissions=["control"])
    def enable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        disabled = list(queryset.filter(enabled=False))
        for endpoint in disabled:
            endpoint.enable()
        self.report(request, disabled, f"Endpoints enabled: {len(disabled)}.", "Enabled.")

    @admin.action(description="Disable", permissions=["control"])
    def disable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> TemplateResponse | None:
        """Ask for a reason, then disable the endpoints."""
        form = ReasonForm(request.POST if is_confirmed(request) else None)
        if not form.is_valid():
            question = "Disable these endpoints? Events that they miss are kept."
            return self.ask(request, queryset, "disable", question, form)
        reason = form.cleaned_data["reason"]
        changed = [endpoint for endpoint in queryset if endpoint.disable(reason)]
        text = f"Endpoints disabled: {len(changed)}."
        self.report(request, changed, text, f"Disabled. {reason}")
        return None


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ActionAdmin):
    list_display = [
        "event",
        "endpoint",
        "status",
        "failures",
        "last_response",
        "next_attempt_at",
        "created_at",
    ]
    list_filter = ["status", "event"]
    list_select_related = ["endpoint"]
    search_fields = ["endpoint__url"]
    search_help_text = "Search by URL of the endpoint."
    fieldsets = [
        (None, {"fields": ["id", "event", "to_endpoint", "of_request", "run", "status", "created_at"]}),
        ("Attempts", {"fields": ["failures", "next_attempt_at", "attempt_table"]}),
        ("Payload", {"fields": ["body"]}),
    ]
    readonly_fields = ["id", "to_endpoint", "of_request", "attempt_table", "body"]
    actions = ["redeliver"]

    @admin.display(description="endpoint")
    def to_endpoint(self, delivery: WebhookDelivery) -> SafeString:
        return link_to(delivery.endpoint)

    @admin.display(description="request")
    def of_request(self, delivery: WebhookDelivery) -> SafeString | str:
        return link_to(delivery.request) if delivery.request else EMPTY_VALUE

    @admin.display
    def last_response(self, delivery: WebhookDelivery) -> str | None:
        last = delivery.attempts[-1] if delivery.attempts else {}
        return last.get("error") or last.get("status")

    @admin.display(description="attempts")
    def attempt_table(self, delivery: WebhookDelivery) -> SafeString | str:
        attempts = delivery.latest_attempts
        return render_to_string("admin/_attempts.html", {"attempts": attempts}) if attempts else EMPTY_VALUE

    @admin.display
    def body(self, delivery: WebhookDelivery) -> SafeString:
        return format_html("<pre>{}</pre>", delivery.payload)

    @admin.action(description="Redeliver", permissions=["control"])
    def redeliver(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        changed = [delivery for delivery in queryset if redeliver(delivery)]
        text = f"Deliveries queued: {len(changed)}."
        self.report(request, changed, text, "Redelivered.")


@admin.register(Request)
class RequestAndWebhooksAdmin(RequestAdmin):
    actions = [*RequestAdmin.actions, "resend"]
    fieldsets = [*RequestAdmin.fieldsets, ("Webhooks", {"fields": ["deliveries"]})]
    readonly_fields = [*RequestAdmin.readonly_fields, "deliveries"]

    def has_resend_permission(self, request: HttpRequest) -> bool:
        """Redelivering takes the permission to change deliveries."""
        return request.user.has_perm("webhooks.change_webhookdelivery")

    def available_actions(self, row: Request) -> list[str]:
        return [name for name in super().available_actions(row) if name != "resend" or not row.is_active]

    @admin.display
    def deliveries(self, batch: Request) -> SafeString:
        count = batch.webhook_deliveries.count()
        return link(list_url(WebhookDelivery, request__id__exact=batch.pk), f"Deliveries: {count}")

    @admin.action(description="Redeliver webhooks", permissions=["resend"])
    def resend(self, request: HttpRequest, queryset: QuerySet[Request]) -> None:
        sent = {batch: republish(batch) for batch in queryset}
        text = f"Deliveries queued: {sum(sent.values())}."
        self.report(request, [batch for batch, count in sent.items() if count], text, "Webhooks redelivered.")
