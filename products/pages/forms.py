"""Forms of the lists of requests and products, and of repair."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import OrderBy
from django.http import QueryDict

from products.catalogue import (
    FIRST_PROBLEMS,
    MAX_URL,
    Problem,
)
from products.models import ImageStatus, Request, RequestStatus
from products.models.image import Causes
from products.models.recipes import (
    MAX_SIDE,
    format_name,
)
from products.models.validators import validate_http_url
from products.results.week import BYTES_SAVED

MAX_SEARCH_LENGTH = 200


class RetryForm(forms.Form):
    """Limits a retry to pictures that failed with `code`, from `host`. Empty for all."""

    code = forms.CharField(required=False, max_length=30)
    host = forms.CharField(required=False, max_length=300)

    @property
    def causes(self) -> Causes:
        """The causes that the retry is limited to; none for all."""
        code, host = self.cleaned_data["code"], self.cleaned_data["host"]
        return [(code, host)] if code or host else []


class RepairForm(forms.Form):
    """Groups of failures, as `code host`, or single pictures, and what is to be done with them."""

    action = forms.ChoiceField(choices=[("retry", "Retry"), ("ignore", "Leave out")])
    group = forms.MultipleChoiceField(required=False)
    image = forms.MultipleChoiceField(required=False)

    def __init__(self, groups: Sequence[str], images: Sequence[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cast(forms.ChoiceField, self.fields["group"]).choices = [(name, name) for name in groups]
        cast(forms.ChoiceField, self.fields["image"]).choices = [(name, name) for name in images]


class ReplaceForm(RetryForm):
    """A text in the URLs of failed pictures, and what takes its place."""

    find = forms.CharField(label="Find", max_length=MAX_URL, strip=False)
    replacement = forms.CharField(
        label="Replace with", max_length=MAX_URL, strip=False, required=False, empty_value=""
    )


class UrlForm(forms.Form):
    """A URL to fetch a picture from."""

    url = forms.CharField(label="New URL", max_length=MAX_URL, validators=[validate_http_url])


class CorrectionsForm(forms.Form):
    """A corrected result."""

    file = forms.FileField(
        label="Corrected file",
        help_text="The failed rows or the whole result, with corrected URLs. Rows are matched by serial "
        "number, pictures by their place in the row.",
        allow_empty_file=True,
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,.xlsx,text/csv"}),
    )

    def add_problems(self, problems: list[Problem]) -> None:
        """Show the problems of a refused file as errors of the file field."""
        self.add_error("file", [ValidationError(text) for text in describe_problems(problems)])


class DetailsForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """The name and the note of a Request."""

    class Meta:
        model = Request
        fields = ["name", "note"]


class RunsForm(forms.Form):
    """Two runs of a Request to compare; by default the latest with the one before it."""

    run = forms.TypedChoiceField(label="Compare run", coerce=int)
    against_run = forms.TypedChoiceField(label="with run", coerce=int)

    def __init__(self, latest: int, data: QueryDict | None = None) -> None:
        super().__init__(data, initial={"run": latest, "against_run": latest - 1})
        runs = [(number, str(number)) for number in range(1, latest + 1)]
        cast(forms.ChoiceField, self.fields["run"]).choices = runs[1:]
        cast(forms.ChoiceField, self.fields["against_run"]).choices = runs[:-1]

    def clean(self) -> None:
        run, against_run = self.cleaned_data.get("run"), self.cleaned_data.get("against_run")
        if run and against_run and against_run >= run:
            self.add_error("against_run", "Choose a run before the other one.")


class RequestSearchForm(forms.Form):
    """Filters of the list of requests."""

    #: The order of each choice of `sort`.
    ORDERS: ClassVar[dict[str, list[str | OrderBy]]] = {
        "newest": ["-created_at"],
        "name": ["filename", "-created_at"],
        "failed": ["-images_failed", "-created_at"],
        "saved": [BYTES_SAVED.desc(), "-created_at"],
    }

    q = forms.CharField(label="File name", required=False, max_length=MAX_SEARCH_LENGTH)
    status = forms.ChoiceField(label="Status", required=False, choices=[("", "Any"), *RequestStatus.choices])
    sort = forms.ChoiceField(
        required=False, choices=[(name, name) for name in ORDERS], widget=forms.HiddenInput
    )


class BulkForm(forms.Form):
    """An action on several Requests."""

    action = forms.ChoiceField(choices=[("cancel", "Cancel"), ("delete", "Delete")])
    confirmed = forms.BooleanField(required=False)


class PictureSearchForm(forms.Form):
    """Filters and order of a Request's pictures."""

    #: Formats of sources by the names that Images have.
    FORMATS = ("jpeg", "png", "webp", "gif", "avif", "heic", "tiff", "bmp", "jpeg2000", "psd", "ico")
    SORTS: ClassVar[dict[str, str]] = {
        "": "As in the file",
        "saved": "Most saved",
        "largest": "Largest before",
        "smallest": "Fewest pixels",
    }

    q = forms.CharField(
        label="Search",
        required=False,
        max_length=2048,
        widget=forms.TextInput(attrs={"placeholder": "Part of the URL"}),
    )
    status = forms.ChoiceField(
        label="Status",
        required=False,
        choices=[("", "Any"), *ImageStatus.choices, ("unchanged", "Unchanged")],
    )
    format = forms.ChoiceField(
        label="Format",
        required=False,
        choices=[("", "Any"), *((name, format_name(name)) for name in FORMATS)],
    )
    host = forms.CharField(label="Host", required=False, max_length=300)
    smaller = forms.IntegerField(label="Smaller than (px)", required=False, min_value=1, max_value=MAX_SIDE)
    sort = forms.ChoiceField(label="Sort", required=False, choices=[*SORTS.items()])
    start = forms.IntegerField(required=False, min_value=1, max_value=10_000_000, widget=forms.HiddenInput)


class ProductSearchForm(forms.Form):
    """Filters of a Request's products, and where the page begins: `after` or `before` a row number."""

    q = forms.CharField(
        label="Product",
        required=False,
        max_length=2048,
        widget=forms.TextInput(attrs={"placeholder": "Serial number, name or picture URL"}),
    )
    status = forms.ChoiceField(
        label="Status",
        required=False,
        choices=[("", "Any"), *(one for one in RequestStatus.choices if one[0] != RequestStatus.PROCESSING)],
    )
    code = forms.CharField(required=False, max_length=30, widget=forms.HiddenInput)
    host = forms.CharField(required=False, max_length=300, widget=forms.HiddenInput)
    row = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)
    after = forms.IntegerField(required=False, min_value=0, widget=forms.HiddenInput)
    before = forms.IntegerField(required=False, min_value=0, widget=forms.HiddenInput)


def describe_problems(problems: list[Problem]) -> list[str]:
    """Return a sentence with line and column for each of the first FIRST_PROBLEMS problems of a file."""
    sentences = []
    for problem in problems[:FIRST_PROBLEMS]:
        numbers = (("line", problem.line), ("column", problem.column))
        place = ", ".join(f"{name} {number}" for name, number in numbers if number is not None)
        sentences.append(f"{place.capitalize()}: {problem.detail}" if place else problem.detail)
    if len(problems) >= FIRST_PROBLEMS:
        sentences.append(f"Only the first {FIRST_PROBLEMS} problems are listed.")
    return sentences
