"""Admin of Requests: options, progress, results, and actions on them."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import model_ngettext
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
from products.admin.base import EMPTY_VALUE, ActionAdmin, is_confirmed, link, list_url
from products.catalogue import CatalogueError
from products.models import Image, Product, Request
from products.models.ids import parse_uuid
from products.models.recipes import RECIPE_OPTIONS
from products.results import download, download_name
from products.results.result_csv import result_csv
from products.results.zip_archive import results_zip

#: Owners in the filter. Requests of others are found by the owner's name.
OFFERED_OWNERS = 20
#: Products and Images with the text of a search, of which the Requests are shown.
MAX_MATCHES = 1_000
OUTCOMES = ("completed", "failed", "ignored", "canceled", "pending")


class OwnerFilter(admin.SimpleListFilter):
    """Requests of one owner. Offers the owners of the latest uploads only: there may be thousands."""

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
    """Requests with or without failed images."""

    title = "failed images"
    parameter_name = "failures"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Some"), ("no", "None")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Request]) -> QuerySet[Request]:
        some = Q(images_failed__gt=0)
        return {"yes": queryset.filter(some), "no": queryset.exclude(some)}.get(self.value() or "", queryset)


SAVED = F("bytes_source") - F("bytes_source_unchanged") - F("bytes_output") + F("bytes_unchanged")
DetailsForm = forms.modelform_factory(Request, fields=["name", "note"])
OptionsForm = forms.modelform_factory(
    Request, fields=["quality", "format", "max_width", "max_height", "force"]
)


def _size(count: int) -> str:
    """Return a number of bytes as text; EMPTY_VALUE while no picture is done."""
    return filesizeformat(count) if count else EMPTY_VALUE


def retry_finished(batch: Request) -> int:
    """Retry a Request unless it is active. Return the number of Images."""
    try:
        return lifecycle.retry(batch)
    except lifecycle.StillActive:
        return 0


class RequestAdmin(ActionAdmin):
    """Not registered here: processing.webhooks.admin registers a subclass with webhooks."""

    list_display = ["filename", "owner", "status", "done", "failed", "saved", "duration", "created_at"]
    list_filter = ["status", FailuresFilter, "created_at", OwnerFilter, "format"]
    list_select_related = ["owner"]
    date_hierarchy = "created_at"
    search_fields = ["filename", "owner__username"]
    search_help_text = (
        "Part of the file name or owner name, or the whole request id, serial number or image URL. The first "
        "1,000 products and images are considered."
    )
    actions = ["retry", "cancel", "rename", "repeat", "export", "prune"]
    # Without internal fields, and without `source`: the stored file is not public.
    fieldsets = [
        (None, {"fields": ["filename", "name", "note", "owner", "status", "error", "progress"]}),
        ("Contents", {"fields": ["failures", "contents"]}),
        ("Files", {"fields": ["files"]}),
        ("Options", {"fields": ["profile", *RECIPE_OPTIONS, "strict", "force", "webhook_url"]}),
        (
            "Input file",
            {
                "fields": [
                    "encoding",
                    "read_as",
                    "columns",
                    "base_url",
                    "sheet",
                    "products_total",
                    "ingested_rows",
                ]
            },
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
        """Search names by part, since Requests are few; everything else by equality, with an index."""
        text = search_term.strip()
        if not text:
            return queryset, False
        products = Product.objects.filter(Product.has_serial(text)).order_by()
        images = Image.objects.filter(Image.has_url(text)).order_by()
        found = (
            Q(filename__icontains=text)
            | Q(owner__username__icontains=text)
            | Q(pk__in=products.values("request")[:MAX_MATCHES])
            | Q(pk__in=images.values("request")[:MAX_MATCHES])
        )
        if pk := parse_uuid(text):
            found |= Q(pk=pk)
        return queryset.filter(found), False

    def has_prune_permission(self, request: HttpRequest) -> bool:
        return self.has_model_permission(request, "delete")

    def available_actions(self, row: Request) -> list[str]:
        available = {"retry": not row.is_active, "cancel": row.is_active, "prune": not row.is_active}
        return [name for name in super().available_actions(row) if available.get(name, True)]

    # --- Fields ---

    @admin.display(description="done", ordering="images_completed")
    def done(self, batch: Request) -> str:
        return f"{batch.images_completed} / {batch.images_total}"

    @admin.display(description="failed", ordering=F("images_failed") * 1.0 / NullIf("images_total", 0))
    def failed(self, batch: Request) -> str:
        return f"{batch.images_failed} ({batch.images_failed / (batch.images_total or 1):.1%})"

    @admin.display(description="bytes before")
    def before(self, batch: Request) -> str:
        return _size(batch.bytes_source)

    @admin.display(description="bytes after")
    def after(self, batch: Request) -> str:
        return _size(batch.bytes_output)

    @admin.display(description="bytes saved", ordering=SAVED)
    def saved(self, batch: Request) -> str:
        return filesizeformat(batch.bytes_saved) if batch.bytes_source_new else EMPTY_VALUE

    @admin.display(ordering=F("finished_at") - F("started_at"))
    def duration(self, batch: Request) -> str:
        seconds = batch.seconds_taken
        return EMPTY_VALUE if seconds is None else str(timedelta(seconds=round(seconds)))

    @admin.display
    def progress(self, batch: Request) -> SafeString:
        """Return the number of images by status, as a bar and as text."""
        parts, done = [], 0.0
        for outcome in OUTCOMES:
            count = getattr(batch, f"images_{outcome}")
            width = 100 * count / (batch.images_total or 1)
            # As text: Django would localise numbers, which SVG does not understand.
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
        return format_html_join("", '<div><a href="{}">{}</a>: {}</div>', causes) or EMPTY_VALUE

    @admin.display
    def contents(self, batch: Request) -> SafeString:
        """Return links to the lists of the Request's Images and Products."""
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

    # --- Actions ---

    @admin.action(description="Retry failed", permissions=["control"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Request]) -> None:
        batches = list(queryset)
        count = sum(retry_finished(batch) for batch in batches)
        # Not `queryset`, whose filters may no longer match.
        runs = dict(Request.objects.filter(pk__in=[b.pk for b in batches]).values_list("pk", "run"))
        changed = [batch for batch in batches if runs.get(batch.pk) != batch.run]
        self.report(request, changed, f"Retrying {count} {model_ngettext(Image._meta, count)}.", "Retried.")

    @admin.action(description="Cancel", permissions=["control"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Request]) -> TemplateResponse | None:
        """Cancel Requests after a confirmation."""
        if not is_confirmed(request):
            question = "Cancel these requests? Completed images are kept. Finished requests are skipped."
            return self.ask(request, queryset, "cancel", question, forms.Form())
        changed = [batch for batch in queryset if lifecycle.cancel(batch)]
        text = f"Canceled {len(changed)} {model_ngettext(self.opts, len(changed))}."
        self.report(request, changed, text, "Canceled.")
        return None

    @admin.action(description="Rename or add a note", permissions=["control"])
    def rename(self, request: HttpRequest, queryset: QuerySet[Request]) -> TemplateResponse | None:
        """Ask for the name and the note of one Request, and save them."""
        batch = self.only_one(request, queryset)
        if batch is None:
            return None
        form = DetailsForm(request.POST) if is_confirmed(request) else DetailsForm(instance=batch)
        if not form.is_valid():
            return self.ask(request, queryset, "rename", "Change the name and the note?", form)
        Request.objects.filter(pk=batch.pk).update(**form.cleaned_data)
        self.report(request, [batch], "Saved.", "Changed name and note.")
        return None

    @admin.action(description="Run again with other options", permissions=["control"])
    def repeat(
        self, request: HttpRequest, queryset: QuerySet[Request]
    ) -> TemplateResponse | HttpResponseRedirect | None:
        """Ask for options, and submit the file of one Request again for its owner."""
        batch = self.only_one(request, queryset)
        if batch is None:
            return None
        initial = forms.model_to_dict(batch, OptionsForm.base_fields)
        form = OptionsForm(request.POST) if is_confirmed(request) else OptionsForm(initial=initial)
        if not form.is_valid():
            question = "Process the same file again, as a new request of its owner?"
            return self.ask(request, queryset, "repeat", question, form)
        try:
            again = lifecycle.repeat(batch, **form.cleaned_data)
        except CatalogueError as error:
            self.message_user(request, error.problems[0].detail, messages.ERROR)
            return None
        except lifecycle.OptionsRefused as error:
            self.message_user(request, " ".join(error.problems.values()), messages.ERROR)
            return None
        self.report(request, [again], "This is a new request with the same file.", "Repeated.")
        return HttpResponseRedirect(reverse("admin:products_request_change", args=[again.pk]))

    def only_one(self, request: HttpRequest, queryset: QuerySet[Request]) -> Request | None:
        """Return the selected Request. If there are several, tell the user to select one and return None."""
        selected = list(queryset[:2])
        if len(selected) == 1:
            return selected[0]
        self.message_user(request, "Select a single request for this action.", messages.WARNING)
        return None

    @admin.action(description="Download results", permissions=["view"])
    def export(self, request: HttpRequest, queryset: QuerySet[Request]) -> HttpResponseBase:
        """Download the result of one Request as CSV, of several as a ZIP."""
        batches = list(queryset)
        if len(batches) == 1:
            return download(result_csv(batches[0]), download_name(batches[0], "result"), "text/csv")
        return download(results_zip(batches), "results.zip", "application/zip")

    @admin.action(description="Delete", permissions=["prune"])
    def prune(
        self, request: HttpRequest, queryset: QuerySet[Request]
    ) -> TemplateResponse | HttpResponseRedirect:
        """Delete finished Requests after a confirmation."""
        if not is_confirmed(request):
            question = "Delete these requests and their rows? Active requests are skipped."
            return self.ask(request, queryset, "prune", question, forms.Form())
        changed = [batch for batch in queryset if lifecycle.delete(batch, only_finished=True)]
        text = f"Deleted {len(changed)} {model_ngettext(self.opts, len(changed))}."
        text += " Files used by no other request are deleted by the next prune."
        self.report(request, changed, text, "Deleted.")
        return HttpResponseRedirect(list_url(Request))
