"""The form of the options of an upload, with their fields."""

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from products.models import Effort, Fit, Format, Names
from products.models.quality import DEFAULT_QUALITY, QualityFormField
from products.models.recipes import (
    MAX_SIDE,
    MUST_BE_YES_OR_NO,
    choice_errors,
    number_errors,
    parse_background,
    recipe_problems,
    rendition_problems,
)
from products.pages.rendition_forms import (
    RenditionsBoundField,
    RenditionsField,
    renditions_invalid,
    sent_rows,
)

#: What most catalogues need, which the form always shows. The other options are folded away.
USUAL_OPTIONS = ("format", "quality", "max_width", "max_height")


class SideField(forms.IntegerField):
    """A width or height in pixels, which may be left empty."""

    def __init__(self, label: str, help_text: str) -> None:
        super().__init__(
            label=label,
            min_value=1,
            max_value=MAX_SIDE,
            required=False,
            error_messages=number_errors(1, MAX_SIDE),
            help_text=help_text,
        )


class YesNoInput(forms.CheckboxInput):
    """A checkbox whose field sees what was sent."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        return data.get(name, False)


class YesNoField(forms.BooleanField):
    """Yes as a browser sends it, or as `true` and `1`; no if it is left out, or as `false` and `0`."""

    widget = YesNoInput

    def to_python(self, value: Any) -> bool:
        text = str(value or "false").lower()
        if text in {"on", "true", "1"}:
            return True
        if text in {"false", "0"}:
            return False
        raise ValidationError(MUST_BE_YES_OR_NO, "invalid")

    def bound_data(self, data: Any, initial: Any) -> bool:
        """Return whether the checkbox is checked when the form is shown again."""
        try:
            return self.to_python(data)
        except ValidationError:
            return False


class YesNoOrProfileField(forms.ChoiceField):
    """Yes, no, or None: as in the profile."""

    def __init__(self, field: YesNoField) -> None:
        choices = [("", "As in the profile"), ("true", "Yes"), ("false", "No")]
        super().__init__(
            label=field.label, help_text=field.help_text, required=False, choices=choices, initial=""
        )

    def prepare_value(self, value: Any) -> Any:
        return str(value).lower() if isinstance(value, bool) else value

    def clean(self, value: Any) -> bool | None:
        """Return the answer, which may be sent as `YesNoField` accepts it."""
        return None if value in self.empty_values else YesNoField(required=False).clean(value)


class OptionsForm(forms.Form):
    """The options of a Request, by the names that `lifecycle.submit` takes."""

    quality = QualityFormField(
        label="Quality",
        initial=DEFAULT_QUALITY,
        help_text="From 1 (smallest files) to 95 (best quality). With auto, each picture gets the lowest at "
        "which it still looks like its source.",
    )
    format = forms.ChoiceField(
        label="Format",
        choices=Format.choices,
        initial=Format.JPEG,
        error_messages=choice_errors(Format),
        help_text="File format of the compressed pictures.",
    )
    max_width = SideField(
        "Maximum width", "In pixels. Wider pictures are scaled down. Leave empty for no limit."
    )
    max_height = SideField(
        "Maximum height", "In pixels. Taller pictures are scaled down. Leave empty for no limit."
    )
    width = SideField("Width", "In pixels. Use it instead of the maximum width, with a fit.")
    height = SideField("Height", "In pixels. Use it instead of the maximum height, with a fit.")
    fit = forms.TypedChoiceField(
        label="Fit",
        choices=Fit.choices,
        initial=Fit.INSIDE,
        required=False,
        empty_value=Fit.INSIDE.value,
        error_messages=choice_errors(Fit),
        help_text="How a picture is brought to this width and height. No picture is enlarged.",
    )
    background = forms.CharField(
        label="Background",
        required=False,
        help_text="As #rrggbb, around padded pictures and behind transparency. Leave empty for transparent "
        "where the format can be, else white.",
    )
    effort = forms.TypedChoiceField(
        label="Effort",
        choices=Effort.choices,
        initial=Effort.BALANCED,
        required=False,
        empty_value=Effort.BALANCED.value,
        error_messages=choice_errors(Effort),
        help_text="Smaller files take longer. JPEGs look the same.",
    )
    trim = YesNoField(
        label="Trim borders", required=False, help_text="Cut off borders of one colour before scaling."
    )
    min_width = SideField("Smallest width", "In pixels. Narrower pictures fail. Leave empty to accept any.")
    min_height = SideField("Smallest height", "In pixels. Shorter pictures fail. Leave empty to accept any.")
    names = forms.TypedChoiceField(
        label="File names",
        choices=Names.choices,
        initial=Names.HASH,
        required=False,
        empty_value=Names.HASH.value,
        error_messages=choice_errors(Names),
        help_text="With the source file name, the URL of chair.png ends in chair.jpg.",
    )
    strict = YesNoField(
        label="Strict",
        required=False,
        help_text="Reject the file if it has any invalid row or cell. Otherwise those are marked as failed.",
    )
    force = YesNoField(
        label="Fetch all pictures again",
        required=False,
        help_text="Otherwise pictures that have not changed since your last request are reused.",
    )
    renditions = RenditionsField(
        label="Renditions",
        required=False,
        initial=list,
        help_text="More versions of every picture. Empty fields use the options above. If you enter a "
        "size, the size and fit above do not apply.",
    )

    def clean_background(self) -> str:
        colour: str = self.cleaned_data["background"]
        try:
            return parse_background(colour) if colour else ""
        except ValueError as error:
            raise ValidationError(str(error), "invalid") from error

    def clean_renditions(self) -> list[dict[str, Any]]:
        renditions: list[dict[str, Any]] = self.cleaned_data["renditions"]
        if self.data.get("renditions") and sent_rows(self.data, "renditions"):
            raise ValidationError("Send renditions as JSON or in rows, not both.", "invalid")
        return renditions

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors.keys() & OptionsForm.base_fields.keys():
            options = self.cleaned_options
            for option, sentence in recipe_problems(options).items():
                problem: Any = sentence
                if option == "renditions":
                    problem = renditions_invalid(rendition_problems(options))
                self.add_error(option, problem)
        return data

    @property
    def usual_options(self) -> list[forms.BoundField]:
        """The options that are always in view."""
        return [self[name] for name in USUAL_OPTIONS]

    @property
    def more_options(self) -> list[forms.BoundField]:
        """The options that are folded away."""
        return [self[name] for name in OptionsForm.base_fields if name not in USUAL_OPTIONS]

    @property
    def changed_count(self) -> int:
        """Number of `more_options` that are not as they are by default."""
        return _count_changed(self.more_options)

    @property
    def has_defaults(self) -> bool:
        """True if all options are as they are by default."""
        return not _count_changed([*self.usual_options, *self.more_options])

    @property
    def are_more_options_open(self) -> bool:
        """True if any of `more_options` is changed or invalid: the page then shows them without a click."""
        return bool(self.changed_count or any(field.errors for field in self.more_options))

    @property
    def defaults(self) -> str:
        """The options that are not chosen, as JSON for scripts."""
        return json.dumps(default_options())

    @property
    def cleaned_options(self) -> dict[str, Any]:
        """The values of `options`."""
        return {name: self.cleaned_data[name] for name in OptionsForm.base_fields}

    def focus_first_error(self) -> None:
        """Set the keyboard focus of the page to the first invalid field."""
        for name in self.fields:
            if name in self.errors:
                shown = self[name]
                field = shown.first_invalid if isinstance(shown, RenditionsBoundField) else shown.field
                field.widget.attrs["autofocus"] = True
                return


def default_options() -> dict[str, Any]:
    """Return the values of options that are not chosen."""
    return {name: default_of(field) for name, field in OptionsForm.base_fields.items()}


def default_of(field: forms.Field) -> Any:
    """Return the value of an option that is not chosen."""
    value = field.initial() if callable(field.initial) else field.initial
    return value if value is not None or not isinstance(field, forms.BooleanField) else False


def _count_changed(options: list[forms.BoundField]) -> int:
    """Return how many options are not as they are by default."""
    defaults = default_options()
    return sum(_text(field.value()) != _text(defaults[field.name]) for field in options)


def _text(value: Any) -> str:
    """Return the value of an option, as a form was sent or as it is stored, as text; empty for none or no."""
    return str(value) if value and value != "false" else ""
