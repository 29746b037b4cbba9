"""Requests: what each was, how it went, and what staff can do about it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import F, Max, Q, QuerySet
from django.db.models.functions import NullIf
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from products import lifecycle
from products.admin.base import NOTHING, ActingAdmin, is_confirmed, link, list_url
from products.models import Image, Product, Request
from products.results.archive import results_zip
from products.results.downloads import download
from products.results.result_csv import result_csv, result_name

#: Owners that the filter offers; others are found by searching for their name.
OFFERED_OWNERS = 20
#: Products and Images by which Requests are found: the same may be in each of them.
MATCHES = 1_000
OUTCOMES = ("completed", "failed", "canceled", "pending")


class OwnerFilter(admin.SimpleListFilter):
    """Those who have uploaded something of late: of thousands of users nobody reads a list."""

    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        uploaders = User.objects.alias(latest=Max("requests__created_at")).filter(latest__isnull=False)
        offered = dict(uploaders.order_by("-latest").values_list("pk", "username")[:OFFERED_OWNERS])
        if (chosen := self.value()) and chosen.isdecimal():
            offered |= dict(User.objects.filter(pk=chosen).values_list("pk", "username"))
        return [(str(pk), name) for pk, name in offered.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Request]) -> QuerySet[Request]:
        chosen = self.value()
        return queryset.filter(owner=int(chosen)) if chosen and chosen.isdecimal() else queryset


class FailuresFilter(admin.SimpleListFilter):
    title = "failed images"
    parameter_name = "failures"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Some"), ("no", "None")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Request]) -> QuerySet[Request]:
        some = Q(images_failed__gt=0)
        return {"yes": queryset.filter(some), "no": queryset.exclude(some)}.get(self.value() or "", queryset)


class RequestAdmin(ActingAdmin):
    """Registered by processing, which adds what it knows of webhooks."""

    list_display = ["filename", "owner", "status", "done", "failed", "saved", "duration", "created_at"]
    list_filter = ["status", FailuresFilter, "created_at", OwnerFilter, "format"]
    list_select_related = ["owner"]
    date_hierarchy = "created_at"
    search_fields = ["filename", "owner__username"]
    search_help_text = (
        "A part of the file's name or the owner's; or, as a whole, the id of a request, a serial number, or "
        "the URL of an image (the first 1,000 places of each)."
    )
    actions = ["retry", "cancel", "export", "prune"]
    # Without the fields of the machinery, and without `source`, which only the result's addresses hand out.
    fieldsets = [
        (None, {"fields": ["filename", "owner", "status", "error", "progress", "failures", "contents"]}),
        ("Files", {"fields": ["files"]}),
        ("Options", {"fields": ["quality", "format", "max_width", "max_height", "force", "webhook_url"]}),
        (
            "Reading of the file",
            {"fields": ["encoding", "columns", "base_url", "products_total", "ingested_rows"]},
        ),
        ("Sizes", {"fields": ["images_unchanged", "before", "after", "saved"]}),
        (
            "Times",
            {"fields": ["created_at", "started_at", "last_progress_at", "finished_at", "duration", "run"]},
        ),
    ]
    readonly_fields = [
        *("progress", "failures", "contents", "files", "before", "after", "saved", "duration"),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Request]:
        return Request.objects.present()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By names, of which there are few enough to look at each, and by what has an index."""
        text = search_term.strip()
        if not text:
            return queryset, False
        products = Product.objects.filter(Product.has_serial(text)).order_by()
        images = Image.objects.filter(Image.has_url(text)).order_by()
        found = (
            Q(filename__icontains=text)
            | Q(owner__username__icontains=text)
            | Q(pk__in=products.values("request")[:MATCHES])
            | Q(pk__in=images.values("request")[:MATCHES])
        )
        if pk := as_uuid(text):
            found |= Q(pk=pk)
        return queryset.filter(found), False

    def has_prune_permission(self, request: HttpRequest) -> bool:
        """May the user delete Requests? Django's own right says so."""
        return self.has_right(request, "delete")

    def possible_actions(self, row: Request) -> list[str]:
        able = {"retry": not row.is_active, "cancel": row.is_active, "prune": not row.is_active}
        return [name for name in super().possible_actions(row) if able.get(name, True)]

    # --- What is shown ---

    @admin.display(description="done", ordering="images_completed")
    def done(self, batch: Request) -> str:
        return f"{batch.images_completed} / {batch.images_total}"

    @admin.display(description="failed", ordering=F("images_failed") * 1.0 / NullIf("images_total", 0))
    def failed(self, batch: Request) -> str:
        return f"{batch.images_failed} ({batch.images_failed / (batch.images_total or 1):.1%})"

    @admin.display(description="bytes before")
    def before(self, batch: Request) -> str:
        return filesizeformat(batch.bytes_source)

    @admin.display(description="bytes after")
    def after(self, batch: Request) -> str:
        return filesizeformat(batch.bytes_output)

    @admin.display(description="bytes saved", ordering=F("bytes_source") - F("bytes_output"))
    def saved(self, batch: Request) -> str:
        return filesizeformat(batch.bytes_saved)

    @admin.display(ordering=F("finished_at") - F("started_at"))
    def duration(self, batch: Request) -> str:
        seconds = batch.seconds_taken
        return NOTHING if seconds is None else str(timedelta(seconds=round(seconds)))

    @admin.display
    def progress(self, batch: Request) -> SafeString:
        """How many images have come to what, as a bar and in words."""
        parts, done = [], 0.0
        for outcome in OUTCOMES:
            count = getattr(batch, f"images_{outcome}")
            width = 100 * count / (batch.images_total or 1)
            # As texts: Django writes numbers as the user's language does, SVG has a language of its own.
            parts.append({"outcome": outcome, "count": count, "x": f"{done:.3f}", "width": f"{width:.3f}"})
            done += width
        return render_to_string("admin/_progress.html", {"batch": batch, "parts": parts})

    @admin.display(description="failures by cause")
    def failures(self, batch: Request) -> SafeString | str:
        causes = (
            (
                list_url(Image, request__id__exact=batch.pk, status__exact="failed", error_code=code),
                code,
                count,
            )
            for code, count in batch.images.causes()
        )
        return format_html_join("", '<div><a href="{}">{}</a>: {}</div>', causes) or NOTHING

    @admin.display
    def contents(self, batch: Request) -> SafeString:
        """Links to the lists of the Request's Images and Products."""
        of_request = {"request__id__exact": batch.pk}
        links = [
            [link(list_url(Image, **of_request), "Images")],
            [link(list_url(Image, **of_request, status__exact=Image.Status.FAILED), "Failed images")],
            [link(list_url(Product, **of_request), "Products")],
        ]
        return format_html_join(" · ", "{}", links)

    @admin.display
    def files(self, batch: Request) -> SafeString:
        csv = reverse("api:request-results-csv", args=[batch.pk])
        links = [
            [link(csv, "Result CSV")],
            [link(f"{csv}?only=failed", "Failed rows")],
            [link(reverse("api:request-images-zip", args=[batch.pk]), "Pictures (ZIP)")],
        ]
        return format_html_join(" · ", "{}", links)

    # --- What can be done ---

    @admin.action(description="Retry what failed", permissions=["control"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Request]) -> None:
        batches = list(queryset)
        count = sum(lifecycle.retry(batch) for batch in batches)
        # Not by `queryset`: what it filters by may have changed.
        runs = dict(Request.objects.filter(pk__in=[b.pk for b in batches]).values_list("pk", "run"))
        changed = [batch for batch in batches if runs.get(batch.pk) != batch.run]
        self.report(request, changed, f"Images that are tried again: {count}.", "Tried again.")

    @admin.action(description="Cancel", permissions=["control"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Request]) -> None:
        changed = [batch for batch in queryset if lifecycle.cancel(batch)]
        self.report(request, changed, f"Requests that were canceled: {len(changed)}.", "Canceled.")

    @admin.action(description="Export result CSV", permissions=["view"])
    def export(self, request: HttpRequest, queryset: QuerySet[Request]) -> HttpResponseBase:
        """One Request's as it is, several in a ZIP."""
        batches = list(queryset)
        if len(batches) == 1:
            return download(result_csv(batches[0]), f"result-{result_name(batches[0])}", "text/csv")
        return download(results_zip(batches), "results.zip", "application/zip")

    @admin.action(description="Prune", permissions=["prune"])
    def prune(
        self, request: HttpRequest, queryset: QuerySet[Request]
    ) -> TemplateResponse | HttpResponseRedirect:
        """Delete finished Requests, after a question."""
        if not is_confirmed(request):
            question = "Delete these requests with all of their rows? Those still at work stay."
            return self.ask(request, queryset, "prune", question, forms.Form())
        changed = [batch for batch in queryset if lifecycle.delete(batch, only_finished=True)]
        text = f"Requests that were deleted: {len(changed)}."
        text += " Files that only they needed go with the next prune."
        self.report(request, changed, text, "Pruned.")
        return HttpResponseRedirect(list_url(Request))


def as_uuid(text: str) -> UUID | None:
    """The id that a text is; None if it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None
