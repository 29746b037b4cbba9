"""Admin of profiles. They are changed on their pages, where options are checked."""

import json

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from products.admin.base import EMPTY_VALUE, ReadOnlyAdmin, link, list_url
from products.models import Profile, Request


@admin.register(Profile)
class ProfileAdmin(ReadOnlyAdmin):
    list_display = ["name", "owner", "is_published", "requests", "created_at"]
    list_filter = ["is_published"]
    list_select_related = ["owner"]
    ordering = ["name", "created_at"]
    search_fields = ["name", "owner__username"]
    search_help_text = "Search by name or owner."
    fields = [
        *("page", "name", "owner", "is_published", "option_list", "webhook_url", "columns"),
        *("requests", "created_at"),
    ]
    readonly_fields = ["page", "option_list", "columns", "requests"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Profile]:
        profiles: QuerySet[Profile] = super().get_queryset(request)
        return profiles.annotate(request_count=Count("requests"))

    @admin.display(ordering="request_count")
    def requests(self, profile: Profile) -> SafeString | str:
        """Return the number of Requests that have its options, as a link to their list."""
        count: int = profile.request_count  # type: ignore[attr-defined]  # annotated
        return link(list_url(Request, profile__id__exact=profile.pk), f"{count:,}") if count else "0"

    @admin.display
    def page(self, profile: Profile) -> SafeString:
        return link(profile.get_absolute_url(), "Show, change, publish or delete")

    @admin.display(description="options")
    def option_list(self, profile: Profile) -> SafeString | str:
        """Return the options that were chosen; all others are as they are by default."""
        options = [(name, json.dumps(value, ensure_ascii=False)) for name, value in profile.options.items()]
        return format_html_join("", "<div>{}: {}</div>", options) or EMPTY_VALUE

    @admin.display(description="chosen for files with the columns")
    def columns(self, profile: Profile) -> SafeString | str:
        names = format_html_join("", "<li>{}</li>", ([name] for name in profile.header or []))
        return format_html('<ol class="cells">{}</ol>', names) if names else EMPTY_VALUE
