"""Base classes and helpers of the admin's pages."""

from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

#: Shown in place of an empty value, as Django does for fields.
EMPTY_VALUE = "-"
COUNTED_ROWS = 10_000
#: Rows that the confirmation of an action lists.
NAMED_ROWS = 20


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # generic in the stubs only
    """Counts at most COUNTED_ROWS rows: counting millions would take seconds for every page."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        return self.object_list[:COUNTED_ROWS].count()


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs only
    """Shows rows; nothing can be added, changed or deleted."""

    list_per_page = 50
    show_full_result_count = False
    paginator = CappedPaginator

    class Media:
        css = {"all": ["products/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ActionAdmin(ReadOnlyAdmin):
    """Read-only rows with actions, which are offered in the list and on the page of each row.

    Actions with `permissions=["control"]` require Django's permission to change such rows. Each action that
    changed a row is recorded in its history.
    """

    change_form_template = "admin/change_form_with_actions.html"

    def has_control_permission(self, request: HttpRequest) -> bool:
        return self.has_model_permission(request, "change")

    def has_model_permission(self, request: HttpRequest, action: str) -> bool:
        """Return whether the user has Django's permission to `view`, `change` or `delete` such rows."""
        return request.user.has_perm(f"{self.opts.app_label}.{get_permission_codename(action, self.opts)}")

    def available_actions(self, row: Any) -> Collection[str]:
        """Return the names of the actions that its page offers: those that can change this row."""
        return [str(action) for action in self.actions or []]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        available = self.available_actions(context["original"])
        allowed = self.get_action_choices(request, [])
        context["row_actions"] = [(name, label) for name, label in allowed if name in available]
        return super().render_change_form(request, context, *args, **options)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method == "POST" and "action" in request.POST:
            row = self.get_object(request, unquote(object_id))
            if not self.has_view_permission(request, row):
                raise PermissionDenied
            rows = self.get_queryset(request).filter(pk=row.pk if row else None)
            return self.response_action(request, rows) or HttpResponseRedirect(request.get_full_path())
        return super().change_view(request, object_id, form_url, extra_context)

    def ask(
        self, request: HttpRequest, rows: QuerySet[Any], action: str, question: str, form: forms.BaseForm
    ) -> TemplateResponse:
        """Return the page that asks for confirmation of an action. It posts the action again, `confirmed`."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media + form.media,
            "title": question,
            "form": form,
            "action": action,
            "selected": request.POST.getlist("_selected_action"),
            "select_across": request.POST.get("select_across", "0"),
            "rows": rows[:NAMED_ROWS],
            "others": max(rows.count() - NAMED_ROWS, 0),
        }
        return TemplateResponse(request, "admin/confirm.html", context)

    def report(self, request: HttpRequest, rows: Iterable[Model], text: str, note: str) -> None:
        """Show `text` as the outcome of an action, and add `note` to the history of the changed rows."""
        changed = list(rows)
        if changed:
            LogEntry.objects.log_actions(request.user.pk, changed, CHANGE, note)  # type: ignore[arg-type]
        self.message_user(request, text, messages.SUCCESS if changed else messages.WARNING)


def is_confirmed(request: HttpRequest) -> bool:
    """Return whether the user has confirmed the action."""
    return "confirmed" in request.POST


def list_url(model: type[Model], **filters: object) -> str:
    """Return the URL of a model's list with these filters."""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{url}?{urlencode(filters)}" if filters else url


def link(url: str, text: object) -> SafeString:
    return format_html('<a href="{}">{}</a>', url, text)


def link_to(row: Model, text: object = None) -> SafeString:
    """Return a link to the page of a row; the text is the row's name by default."""
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return link(url, row if text is None else text)
