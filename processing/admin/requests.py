"""Requests, with what processing knows of their webhooks."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from processing.models import WebhookDelivery
from processing.webhooks.events import announce_again
from products.admin.base import link, list_url
from products.admin.requests import RequestAdmin
from products.models import Request


@admin.register(Request)
class RequestAndWebhooksAdmin(RequestAdmin):
    actions = [*RequestAdmin.actions, "resend"]
    fieldsets = [*RequestAdmin.fieldsets, ("Webhooks", {"fields": ["deliveries"]})]
    readonly_fields = [*RequestAdmin.readonly_fields, "deliveries"]

    def has_resend_permission(self, request: HttpRequest) -> bool:
        """May the user deliver again? Django's own right to change a delivery says so."""
        return request.user.has_perm("processing.change_webhookdelivery")

    def possible_actions(self, row: Request) -> list[str]:
        return [name for name in super().possible_actions(row) if name != "resend" or not row.is_active]

    @admin.display
    def deliveries(self, batch: Request) -> SafeString:
        count = batch.webhook_deliveries.count()
        return link(list_url(WebhookDelivery, request__id__exact=batch.pk), f"Deliveries: {count}")

    @admin.action(description="Send the webhook again", permissions=["resend"])
    def resend(self, request: HttpRequest, queryset: QuerySet[Request]) -> None:
        sent = {batch: announce_again(batch) for batch in queryset}
        text = f"Deliveries that go out again: {sum(sent.values())}."
        self.report(request, [batch for batch, count in sent.items() if count], text, "Webhook sent again.")
