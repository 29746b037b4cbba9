"""What people fill in."""

from collections.abc import Iterable
from typing import Any, cast

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from products.catalogue import FIRST_PROBLEMS, Problem
from products.limits import LimitReached, count_login
from products.models import ApiToken, Format


class UploadForm(forms.Form):
    """A catalogue with its options, named as `Request.objects.submit` takes them."""

    file = forms.FileField(
        label="Catalogue",
        help_text="A CSV or Excel file with columns for serial number, product name and picture URLs.",
        allow_empty_file=True,  # the catalogue's own sentence says what is missing
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,.xlsx,text/csv"}),
    )
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
        """Everything but the file."""
        return [field for field in self if field.name != "file"]

    def refuse(self, problems: list[Problem]) -> None:
        """Say beside the file what is wrong with it, and where."""
        errors = [ValidationError(_sentence(problem), problem.code) for problem in problems[:FIRST_PROBLEMS]]
        if len(problems) >= FIRST_PROBLEMS:
            errors.append(ValidationError(f"Only the first {FIRST_PROBLEMS} problems are listed.", "more"))
        self.add_error("file", errors)


class LoginForm(AuthenticationForm):
    """Name and password. `limit` says, after cleaning, that there were too many attempts."""

    limit: LimitReached | None = None

    def clean(self) -> dict[str, Any]:
        """Count the attempt before the password is looked at."""
        try:
            count_login(cast(HttpRequest, self.request), self.cleaned_data.get("username", ""))
        except LimitReached as error:
            self.limit = error
            raise ValidationError(error.detail, error.code) from error
        return super().clean()


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """A new token."""

    class Meta:
        model = ApiToken
        fields = ["name"]


class RetryForm(forms.Form):
    """What to try again: everything, or what failed with one code."""

    code = forms.CharField(required=False, max_length=30)


class PageForm(forms.Form):
    """Where a page of products begins: after this row."""

    after = forms.IntegerField(required=False, min_value=0)


def _sentence(problem: Problem) -> str:
    places: Iterable[tuple[str, int | None]] = (("line", problem.line), ("column", problem.column))
    place = ", ".join(f"{name} {number}" for name, number in places if number is not None)
    return f"{place.capitalize()}: {problem.detail}" if place else problem.detail
