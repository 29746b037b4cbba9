"""Admin of feeds, their runs and deliveries, without headers and secrets."""

from django.contrib import admin

from products.admin.base import ReadOnlyAdmin
from products.feeds.models import Feed, FeedDelivery, FeedRun


@admin.register(Feed)
class FeedAdmin(ReadOnlyAdmin):
    list_display = ["name", "owner", "url", "schedule", "time_zone", "enabled", "next_run_at"]
    list_filter = ["enabled"]
    list_select_related = ["owner"]
    search_fields = ["name", "url", "owner__username"]
    search_help_text = "Search by name, URL or owner."
    fields = [
        *("owner", "name", "url", "profile", "schedule", "time_zone", "enabled", "when_unchanged"),
        *("next_run_at", "last_run", "created_at"),
    ]


@admin.register(FeedRun)
class FeedRunAdmin(ReadOnlyAdmin):
    list_display = ["feed", "status", "scheduled", "attempts", "error", "started_at", "finished_at"]
    list_filter = ["status"]
    list_select_related = ["feed"]
    search_fields = ["feed__name", "feed__url"]
    search_help_text = "Search by name or URL of the feed."
    exclude = ["options", "enqueued_at"]


@admin.register(FeedDelivery)
class FeedDeliveryAdmin(ReadOnlyAdmin):
    list_display = ["feed", "shown_target", "due_at", "failures", "delivered_at", "error"]
    list_select_related = ["feed"]
    search_fields = ["feed__name"]
    search_help_text = "Search by name of the feed."
    fields = ["feed", "shown_target", "due_at", "claimed_by", "failures", "delivered_at", "error"]
    readonly_fields = ["shown_target"]
