"""Renditions in a form: rows of fields, a rendition each, of which empty ones count for nothing."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from products.models import Effort, Fit, Format
from products.models.quality import QualityFormField
from products.models.recipes import (
    MAX_RENDITIONS,
    MAX_SIDE,
    SIZES,
    RenditionProblem,
    RenditionsError,
    parse_renditions,
)

#: Empty rows in view where there are no scripts, and from which a script makes further ones.
EMPTY_ROWS = 2
#: The background of a rendition that has none, though the main picture has one.
TRANSPARENT = "transparent"
USUAL_FIELDS = ("name", "max_width", "max_height", "format", "quality")


class _Choice(forms.CharField):
    """One of these choices, or what the main picture has."""

    def __init__(self, label: str, choices: list[tuple[str, str]]) -> None:
        widget = forms.Select(choices=[("", "As above"), *choices])
        super().__init__(label=label, required=False, widget=widget)


class _Side(forms.CharField):
    """A width or height in pixels."""

    def __init__(self, label: str) -> None:
        widget = forms.NumberInput(attrs={"min": 1, "max": MAX_SIDE})
        super().__init__(label=label, required=False, widget=widget)


class RenditionForm(forms.Form):
    """The fields of a row, as they were sent or as a rendition has them. `parse_renditions` checks them."""

    name = forms.CharField(
        label="Name",
        required=False,
        widget=forms.TextInput(attrs={"maxlength": 20, "spellcheck": "false", "autocapitalize": "none"}),
    )
    max_width = _Side("Maximum width")
    max_height = _Side("Maximum height")
    format = _Choice("Format", Format.choices)
    quality = forms.CharField(label="Quality", required=False, widget=QualityFormField.widget)
    width = _Side("Width")
    height = _Side("Height")
    fit = _Choice("Fit", Fit.choices)
    background = forms.CharField(label="Background", required=False, help_text=f"Or {TRANSPARENT}.")
    effort = _Choice("Effort", Effort.choices)

    @property
    def usual_fields(self) -> list[forms.BoundField]:
        """The fields that are always in view."""
        return [self[name] for name in USUAL_FIELDS]

    @property
    def more_fields(self) -> list[forms.BoundField]:
        """The fields that are folded away."""
        return [self[name] for name in self.fields if name not in USUAL_FIELDS]

    @property
    def is_empty(self) -> bool:
        """True if nothing is in any field."""
        return not any(field.value() for field in self)

    @property
    def are_more_fields_open(self) -> bool:
        """True if any of `more_fields` has something in it or is invalid."""
        return any(field.value() or field.errors for field in self.more_fields)


class RenditionsBoundField(forms.BoundField):
    """The renditions of a form that is shown, as `rows`, with errors beside the fields that are wrong."""

    @cached_property
    def rows(self) -> list[RenditionForm]:
        """A form for each rendition, and empty ones for others."""
        value = [] if self.refused_json else self.value()
        sent = [_as_row(one) for one in (parse_renditions(value) if isinstance(value, str) else value)]
        empty = min(EMPTY_ROWS, max(1, MAX_RENDITIONS - len(sent)))
        rows = [
            RenditionForm(
                {f"{self.html_name}-{place}-{name}": text for name, text in row.items()},
                prefix=f"{self.html_name}-{place}",
            )
            for place, row in enumerate([*sent, *[{}] * empty])
        ]
        for problem in self._problems:
            rows[problem.number - 1].add_error(problem.option, problem.sentence)
        return rows

    @cached_property
    def refused_json(self) -> str:
        """The JSON that was sent, if it is refused: it is shown as it is."""
        value = self.value()
        return value if isinstance(value, str) and self.errors else ""

    @property
    def has_own_errors(self) -> bool:
        """True if there are errors that no row shows."""
        return bool(self.errors) and not self._problems

    @property
    def is_full(self) -> bool:
        """True if no further rendition is possible."""
        return sum(not row.is_empty for row in self.rows) >= MAX_RENDITIONS

    @property
    def first_invalid(self) -> forms.Field:
        """The field that has the keyboard focus when the page shows an error."""
        names = [(row, name) for row in self.rows for name in row.errors]
        row, name = names[0] if names else (self.rows[0], "name")
        return row.fields[name]

    @property
    def _problems(self) -> list[RenditionProblem]:
        if self.refused_json or not self.form.is_bound:
            return []
        errors = self.form.errors.as_data().get(self.name, [])
        return [error.params["problem"] for error in errors if error.params]


class RenditionsInput(forms.Widget):
    """Reads the rows, or JSON under the name of the field alone, as programs may send it."""

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        """Return the JSON, or the rows that are not empty: the text of each option."""
        return data.get(name) or sent_rows(data, name)

    def value_omitted_from_data(self, data: Mapping[str, Any], files: Any, name: str) -> bool:
        return name not in data and not any(key.startswith(f"{name}-") for key in data)


def sent_rows(data: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    """Return the rows that are not empty, in the order of the page, whatever their numbers."""
    prefixes = dict.fromkeys(key.rpartition("-")[0] for key in data if key.startswith(f"{name}-"))
    rows = [
        {option: str(data.get(f"{prefix}-{option}", "")).strip() for option in RenditionForm.base_fields}
        for prefix in prefixes
    ]
    return [row for row in rows if any(row.values())]


class RenditionsField(forms.Field):
    """Renditions, as rows or as JSON text; an empty list for none."""

    widget = RenditionsInput

    def to_python(self, value: Any) -> list[dict[str, Any]]:
        """Return the list of renditions."""
        try:
            return parse_renditions(
                value if isinstance(value, str) else [_as_rendition(row) for row in value]
            )
        except RenditionsError as error:
            if error.problems and not isinstance(value, str):
                raise renditions_invalid(error.problems) from error
            raise ValidationError(str(error), "invalid") from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return self.to_python(data) != (initial or [])
        except ValidationError:
            return True

    def get_bound_field(self, form: forms.BaseForm, field_name: str) -> RenditionsBoundField:
        return RenditionsBoundField(form, self, field_name)


def renditions_invalid(problems: Sequence[RenditionProblem]) -> ValidationError:
    """Return the errors of a form for these problems, which its rows show."""
    return ValidationError(
        [ValidationError("%(problem)s", "invalid", {"problem": problem}) for problem in problems]
    )


def _as_rendition(row: Mapping[str, str]) -> dict[str, Any]:
    """Return a row as `parse_renditions` expects it: sizes as numbers, without what is empty."""
    rendition: dict[str, Any] = {name: text for name, text in row.items() if text or name == "name"}
    for name in {*SIZES} & rendition.keys():
        if re.fullmatch("[0-9]{1,9}", rendition[name]):
            rendition[name] = int(rendition[name])
    if rendition.get("background") == TRANSPARENT:
        rendition["background"] = None
    return rendition


def _as_row(rendition: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each option of a rendition, or of a row that was sent."""
    return {name: TRANSPARENT if value is None else str(value) for name, value in rendition.items()}
