"""What all of the admin's pages have in common."""

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

#: What is shown where there is nothing, as Django does by itself for fields.
NOTHING = "-"
COUNTED_ROWS = 10_000
#: Of the rows that an action is about to take, those that the question names.
NAMED_ROWS = 20


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # generic in the stubs only
    """Counts no further than 10,000 rows: to count millions takes a database seconds, for every page."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        return self.object_list[:COUNTED_ROWS].count()


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs only
    """Shows rows and changes none."""

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


class ActingAdmin(ReadOnlyAdmin):
    """Rows that nobody edits but that one can act on: from their list, and from the page of each.

    Both are Django's own actions. Whoever may change such rows may act on them; each act is in the history.
    """

    change_form_template = "admin/acting.html"

    def has_control_permission(self, request: HttpRequest) -> bool:
        """May the user act on these rows? Django's own right to change them says so."""
        return self.has_right(request, "change")

    def has_right(self, request: HttpRequest, action: str) -> bool:
        """Has the user Django's own right to view, change or delete these rows?"""
        return request.user.has_perm(f"{self.opts.app_label}.{get_permission_codename(action, self.opts)}")

    def possible_actions(self, row: Any) -> Collection[str]:
        """The actions that can do something to this row: those that its page offers."""
        return [str(action) for action in self.actions or []]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        possible = self.possible_actions(context["original"])
        allowed = self.get_action_choices(request, [])
        context["row_actions"] = [(name, label) for name, label in allowed if name in possible]
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
        self, request: HttpRequest, rows: QuerySet[Any], action: str, question: str, form: forms.Form
    ) -> TemplateResponse:
        """The page that asks before an action; its answer comes as the same action, `confirmed`."""
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
        """Say what an action has done, and note it in the history of the rows to which it was done."""
        changed = list(rows)
        if changed:
            LogEntry.objects.log_actions(request.user.pk, changed, CHANGE, note)  # type: ignore[arg-type]
        self.message_user(request, text, messages.SUCCESS if changed else messages.WARNING)


def is_confirmed(request: HttpRequest) -> bool:
    """Has the user answered the question before an action with yes?"""
    return "confirmed" in request.POST


def list_url(model: type[Model], **filters: object) -> str:
    """Where the list of a model is, by these filters."""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{url}?{urlencode(filters)}" if filters else url


def link(url: str, text: object) -> SafeString:
    return format_html('<a href="{}">{}</a>', url, text)


def link_to(row: Model, text: object = None) -> SafeString:
    """A link to the page of a row, by its name if no other text is given."""
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return link(url, row if text is None else text)
