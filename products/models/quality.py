"""The quality of an output: a number, or `auto`."""

import re
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models

#: The lowest quality at which a picture still looks like its source.
AUTO = "auto"
MIN_QUALITY, MAX_QUALITY = 1, 95
DEFAULT_QUALITY = 50
#: How `auto` is stored.
_STORED_AUTO = 0
if TYPE_CHECKING:
    _Field = models.Field[int | str, int | str]
else:
    _Field = models.Field
_NUMBER = re.compile(r"(-?[0-9]{1,9})(\.0*)?")


class QualityError(ValueError):
    """A value that is no quality. `code` is `invalid`, `min_value` or `max_value`."""

    def __init__(self, code: str) -> None:
        super().__init__(f"Use a whole number from {MIN_QUALITY} to {MAX_QUALITY}, or {AUTO}.")
        self.code = code


def parse_quality(value: Any) -> int | str:
    """Return the quality in a number or in text. Raises QualityError."""
    text = str(value).strip()
    if text == AUTO:
        return AUTO
    number = _NUMBER.fullmatch(text)
    if number is None:
        raise QualityError("invalid")
    quality = int(number[1])
    if quality < MIN_QUALITY:
        raise QualityError("min_value")
    if quality > MAX_QUALITY:
        raise QualityError("max_value")
    return quality


def _validated(value: Any) -> int | str:
    """Return the quality in a number or in text. Raises ValidationError."""
    try:
        return parse_quality(value)
    except QualityError as error:
        raise ValidationError(str(error), error.code) from error


class QualityFormField(forms.Field):
    """A quality in a form."""

    widget = forms.TextInput(
        attrs={"pattern": r"\s*(auto|[1-9]|[1-8]\d|9[0-5])\s*", "title": "1 to 95, or auto"}
    )

    def to_python(self, value: Any) -> int | str | None:
        return None if value in self.empty_values else _validated(value)


class QualityField(_Field):
    """A quality in a column of numbers."""

    def get_internal_type(self) -> str:
        return "PositiveSmallIntegerField"

    def from_db_value(self, value: int, *_args: Any) -> int | str:
        return AUTO if value == _STORED_AUTO else value

    def get_prep_value(self, value: Any) -> Any:
        return _STORED_AUTO if value == AUTO else super().get_prep_value(value)

    def to_python(self, value: Any) -> int | str:
        return _validated(value)

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**{"form_class": QualityFormField, **kwargs})
