"""What people fill in."""

from collections.abc import Iterable
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError

from products.catalogue import ENCODINGS, FIRST_PROBLEMS, ColumnNames, Problem, Reading, check_base_url
from products.models import Format, RequestStatus

#: Columns that can be chosen from: more would make a page of megabytes.
SHOWN_COLUMNS = 500
MAX_SEARCH = 200


class OptionsForm(forms.Form):
    """The options of a Request, named as `Request.objects.submit` takes them."""

    quality = forms.IntegerField(
        label="Quality", min_value=1, max_value=95, initial=50, help_text="From 1, the smallest files, to 95."
    )
    format = forms.ChoiceField(
        label="Format",
        choices=Format.choices,
        initial=Format.JPEG,
        help_text="What pictures are turned into.",
    )
    max_width = forms.IntegerField(
        label="Maximum width",
        min_value=1,
        max_value=65_535,
        required=False,
        help_text="In pixels. Wider pictures are scaled down; empty: no limit.",
    )
    max_height = forms.IntegerField(
        label="Maximum height",
        min_value=1,
        max_value=65_535,
        required=False,
        help_text="In pixels. Higher pictures are scaled down; empty: no limit.",
    )
    strict = forms.BooleanField(
        label="Strict",
        required=False,
        help_text="Refuse the file for any bad row or cell. Otherwise what is bad is marked as failed.",
    )
    force = forms.BooleanField(
        label="Fetch everything anew",
        required=False,
        help_text="Otherwise pictures that have not changed since your last request are not fetched again.",
    )

    @property
    def options(self) -> list[forms.BoundField]:
        """These fields alone."""
        return [self[name] for name in OptionsForm.base_fields]

    def focus_error(self) -> None:
        """Let the page that shows the form begin at the first field that is wrong."""
        for name in self.fields:
            if name in self.errors:
                self.fields[name].widget.attrs["autofocus"] = True
                return

    @property
    def cleaned_options(self) -> dict[str, Any]:
        """Their values."""
        return {name: self.cleaned_data[name] for name in OptionsForm.base_fields}


class UploadForm(OptionsForm):
    """A catalogue with its options."""

    file = forms.FileField(
        label="Catalogue",
        help_text="A CSV or Excel file with columns for serial number, product name and picture URLs.",
        allow_empty_file=True,  # the catalogue's own sentence says what is missing
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,.xlsx,text/csv"}),
    )

    def refuse(self, problems: list[Problem]) -> None:
        """Say beside the file what is wrong with it, and where."""
        self.add_error("file", [ValidationError(sentence) for sentence in sentences(problems)])


class DraftForm(OptionsForm):
    """How an uploaded catalogue is to be read, with the options of what comes of it."""

    serial = forms.ChoiceField(label="Serial number")
    name = forms.ChoiceField(label="Product name")
    images = forms.MultipleChoiceField(
        label="Picture URLs", widget=forms.CheckboxSelectMultiple, help_text="One column or several."
    )
    encoding = forms.ChoiceField(
        label="Encoding",
        required=False,
        choices=[("", "found out"), *((name, name) for name in sorted(ENCODINGS))],
        help_text="Another one may help where letters look wrong below.",
    )
    base_url = forms.CharField(
        label="Base of relative paths",
        required=False,
        max_length=2000,
        help_text="Where cells hold paths such as /a/chair.jpg: what stands before them, such as "
        "https://shop.example/media.",
    )

    def __init__(self, header: list[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [name for name in header if name][:SHOWN_COLUMNS]
        columns = [(name, name) for name in names]
        for field in ("serial", "name"):
            cast(forms.ChoiceField, self.fields[field]).choices = [("", "– choose –"), *columns]
        cast(forms.MultipleChoiceField, self.fields["images"]).choices = columns

    def clean_base_url(self) -> str:
        """What nothing can be below is refused."""
        url: str = self.cleaned_data["base_url"]
        try:
            return check_base_url(url) if url else ""
        except ValueError as error:
            raise ValidationError(str(error), "invalid_url") from error

    @property
    def columns(self) -> list[forms.BoundField]:
        """The fields that say which columns matter."""
        return [self["serial"], self["name"], self["images"]]

    @property
    def reading(self) -> Reading:
        """How the file is to be read, as `Request.objects.submit` takes it."""
        data = self.cleaned_data
        columns: ColumnNames = {"serial": data["serial"], "name": data["name"], "images": data["images"]}
        return {"encoding": data["encoding"], "columns": columns, "base_url": data["base_url"]}


class RetryForm(forms.Form):
    """What to try again: everything, or what failed with one code, and at one host."""

    code = forms.CharField(required=False, max_length=30)
    host = forms.CharField(required=False, max_length=300)


class RequestSearchForm(forms.Form):
    """Which of one's Requests are listed."""

    q = forms.CharField(label="File name", required=False, max_length=MAX_SEARCH)
    status = forms.ChoiceField(label="Status", required=False, choices=[("", "any"), *RequestStatus.choices])


class ProductSearchForm(forms.Form):
    """Which of a Request's Products are shown: one `row`, those that follow `after`, or precede `before`."""

    q = forms.CharField(
        label="Search",
        required=False,
        max_length=2048,
        widget=forms.TextInput(attrs={"placeholder": "Serial number, name or picture URL"}),
    )
    status = forms.ChoiceField(
        label="Status",
        required=False,
        choices=[("", "any"), *(one for one in RequestStatus.choices if one[0] != RequestStatus.PROCESSING)],
    )
    code = forms.CharField(required=False, max_length=30, widget=forms.HiddenInput)
    host = forms.CharField(required=False, max_length=300, widget=forms.HiddenInput)
    row = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)
    after = forms.IntegerField(required=False, min_value=0, widget=forms.HiddenInput)
    before = forms.IntegerField(required=False, min_value=0, widget=forms.HiddenInput)


def sentences(problems: list[Problem]) -> list[str]:
    """What is wrong with a file, and where; the first hundred."""
    listed = [_sentence(problem) for problem in problems[:FIRST_PROBLEMS]]
    if len(problems) >= FIRST_PROBLEMS:
        listed.append(f"Only the first {FIRST_PROBLEMS} problems are listed.")
    return listed


def _sentence(problem: Problem) -> str:
    places: Iterable[tuple[str, int | None]] = (("line", problem.line), ("column", problem.column))
    place = ", ".join(f"{name} {number}" for name, number in places if number is not None)
    return f"{place.capitalize()}: {problem.detail}" if place else problem.detail
