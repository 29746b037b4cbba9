"""Forms of the upload and the preview."""

import json
from collections.abc import Sequence
from typing import Any, cast

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import QueryDict

from products.catalogue import (
    ARCHIVE_URL,
    ENCODINGS,
    MAX_URL,
    UNKNOWN_ENCODING,
    ColumnNames,
    Head,
    Problem,
    Reading,
    check_base_url,
)
from products.lifecycle import OptionsRefused, choose_offered
from products.lifecycle.ready_made import READY_MADE
from products.models import Profile
from products.pages.forms import describe_problems
from products.pages.option_forms import OptionsForm, YesNoField, YesNoOrProfileField

#: What a column may hold, as it is chosen above the first rows of a refused file.
ROLES = {"": "Not chosen", "serial": "Serial number", "name": "Product name", "images": "Picture URLs"}
ROLE = "role "
#: Most columns to choose from. Thousands would make a page of megabytes.
MAX_COLUMN_CHOICES = 500
#: A profile is chosen by the columns of the file.
BY_HEADER = "by-header"


class ProfileField(forms.CharField):
    """The name or id of a profile, which may be a ready-made one; empty for none."""

    def __init__(self, help_text: str, **kwargs: Any) -> None:
        widget = forms.Select()
        super().__init__(label="Profile", required=False, help_text=help_text, widget=widget, **kwargs)


def offer_profiles(form: forms.Form, user: User, *others: tuple[str, str]) -> bool:
    """Set the choices of a form's profile. Return whether the user has any beside the ready-made ones.

    The `others` come first if so.
    """
    groups: dict[str, list[tuple[str, str]]] = {"Your profiles": [], "Shared with all users": []}
    profiles = list(Profile.objects.usable_by(user).only("name", "owner"))
    for one in profiles:
        group = "Your profiles" if one.owner_id == user.pk else "Shared with all users"
        groups[group].append((str(one.pk), one.name))
    groups["Ready-made"] = [(str(one.profile.pk), one.name) for one in READY_MADE]
    offered = [(name, group) for name, group in groups.items() if group]
    first = others if profiles else ()
    cast(forms.Select, form.fields["profile"].widget).choices = [*first, ("", "None"), *offered]
    return bool(profiles)


class FilesInput(forms.FileInput):
    """An input of several files, of which a form takes one."""

    allow_multiple_selected = True

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        return files.get(name)


class UploadForm(OptionsForm):
    """A catalogue with its options. The view makes a form for each file that is sent."""

    use_required_attribute = False  # of file and URLs, one is enough

    file = forms.FileField(
        label="Catalogue",
        help_text="A CSV or Excel file with columns for serial number, product name and picture URLs, or a "
        "ZIP of it with its pictures.",
        error_messages={"required": "Choose a file, or paste picture URLs."},
        allow_empty_file=True,  # reading the catalogue gives a better error message
        widget=FilesInput(
            attrs={"accept": ".csv,.tsv,.txt,.xlsx,.xls,.ods,.xml,.json,.zip,text/csv", "multiple": True}
        ),
    )
    urls = forms.CharField(
        label="Picture URLs",
        required=False,
        widget=forms.Textarea(
            attrs={"rows": 4, "spellcheck": "false", "placeholder": "https://shop.example/chair.jpg"}
        ),
        help_text="One row for each line, numbered from 1.",
    )
    url = forms.CharField(
        label="URL of the file",
        required=False,
        max_length=MAX_URL,
        widget=forms.TextInput(
            attrs={"inputmode": "url", "placeholder": "https://shop.example/products.csv"}
        ),
        help_text="It becomes a feed, which fetches the file once or on a schedule.",
    )
    profile = ProfileField(
        "Its options are used. Options that you change below count instead of them.", initial=BY_HEADER
    )
    #: The profile whose options a script has put into the form, with the defaults of all others.
    shown_profile = forms.CharField(required=False, widget=forms.HiddenInput, initial=BY_HEADER)

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._user = user
        self.chosen: Profile | None = None
        if offer_profiles(self, user, (BY_HEADER, "By the columns of the file")):
            # A checkbox that is not checked would not say whether that was chosen.
            for name, field in self.fields.items():
                if isinstance(field, YesNoField):
                    self.fields[name] = YesNoOrProfileField(field)
        else:
            self.fields["profile"].initial = self.fields["shown_profile"].initial = ""

    @property
    def known_options(self) -> str:
        """The options that the form has without a profile and with ready-made ones, by choice, as JSON."""
        ready_made = {str(one.profile.pk): one.options for one in READY_MADE}
        return json.dumps({"": self.initial, **ready_made})

    @property
    def keeps_files(self) -> bool:
        """True after `keep_files`."""
        return "hx-preserve" in self.fields["file"].widget.attrs

    def keep_files(self) -> None:
        """Let htmx keep the files that are chosen when it replaces the form. Other browsers forget them."""
        self.fields["file"].widget.attrs["hx-preserve"] = "true"

    @property
    def wanted(self) -> str | None:
        """The profile that is asked for, as in `choose_offered`."""
        name = self.cleaned_data.get("profile", "")
        return None if name == BY_HEADER or "profile" not in self.data else name

    def clean(self) -> dict[str, Any]:
        try:
            self.chosen = choose_offered(self._user, self.cleaned_data.get("file"), self.wanted)
        except OptionsRefused as error:
            self.add_error("profile", error.problems["profile"])
        return super().clean()

    @property
    def given(self) -> dict[str, Any]:
        """The options that count instead of those of the profile: all it shows, else what was changed."""
        is_shown = self.wanted is not None and self.cleaned_data.get("shown_profile") == self.wanted
        options = {}
        for name in OptionsForm.base_fields:
            field = self.fields[name]
            is_sent = not field.widget.value_omitted_from_data(self.data, self.files, name)
            is_undecided = isinstance(field, YesNoOrProfileField) and self.cleaned_data[name] is None
            if is_sent and not is_undecided and (is_shown or name in self.changed_data):
                options[name] = self.cleaned_data[name]
        return options

    @property
    def cleaned_options(self) -> dict[str, Any]:
        """The options of the form. Those of the chosen profile replace what was not changed."""
        if self.chosen:
            return {**self.chosen.upload_options, **self.given}
        options = super().cleaned_options
        undecided = [name for name in options if isinstance(self.fields[name], YesNoOrProfileField)]
        return options | {name: bool(options[name]) for name in undecided}

    @property
    def reading(self) -> Reading:
        """The options of the chosen profile for reading files."""
        options = self.chosen.options if self.chosen else {}
        return cast(Reading, {name: options[name] for name in Reading.__annotations__ if name in options})

    def add_problems(self, problems: list[Problem]) -> None:
        """Show the problems of a refused catalogue as errors of the file field."""
        self.add_error("file", [ValidationError(text) for text in describe_problems(problems)])


class DraftForm(OptionsForm):
    """The options for reading an uploaded catalogue, and those of its Request.

    Columns are chosen by the fields `serial`, `name` and `images`, or by a role for each column, whose field
    is `role ` and the name of the column. Roles count first.
    """

    serial = forms.ChoiceField(label="Serial number", required=False)
    name = forms.ChoiceField(label="Product name", required=False)
    images = forms.MultipleChoiceField(
        label="Picture URLs", widget=forms.CheckboxSelectMultiple, help_text="Select one or more columns."
    )
    encoding = forms.ChoiceField(
        label="Encoding",
        required=False,
        choices=[("", "Detect automatically"), *((name, name) for name in sorted(ENCODINGS))],
        error_messages={"invalid_choice": UNKNOWN_ENCODING},
        help_text="Choose another encoding if letters look wrong in the preview.",
    )
    base_url = forms.CharField(
        label="Base URL",
        required=False,
        max_length=2000,
        help_text="Added in front of relative paths. With https://shop.example/media, the path /a/chair.jpg "
        "becomes https://shop.example/media/a/chair.jpg.",
    )
    # Any name or number: whoever reads the file says which sheets it has.
    sheet = forms.CharField(label="Sheet", required=False, max_length=255, widget=forms.Select)
    profile = ProfileField("Update the preview to see its options.")
    #: The ZIP with the pictures that was uploaded with the file.
    archive = ""
    #: The profile whose options the page shows.
    shown_profile = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, user: User, head: Head, data: QueryDict | None = None, **kwargs: Any) -> None:
        names = [name for name in head.columns if name][:MAX_COLUMN_CHOICES]
        self._ambiguous: list[str] = []
        super().__init__(self._with_roles(data, names) if data is not None else None, **kwargs)
        offer_profiles(self, user)
        self._has_sheets = len(head.sheets) > 1
        names_of_sheets = dict.fromkeys(filter(None, [*head.sheets, str(self["sheet"].value() or "")]))
        sheets = [("", "Detect automatically"), *((name, name) for name in names_of_sheets)]
        cast(forms.Select, self.fields["sheet"].widget).choices = sheets
        columns = [(name, name) for name in names]
        for field in ("serial", "name"):
            cast(forms.ChoiceField, self.fields[field]).choices = [("", "Detect automatically"), *columns]
        cast(forms.MultipleChoiceField, self.fields["images"]).choices = columns

        for index, name in enumerate(dict.fromkeys(names)):
            role = forms.ChoiceField(label=name, required=False, choices=[*ROLES.items()])
            role.widget.attrs["id"] = f"role-{index}"
            self.fields[ROLE + name] = role

    def _with_roles(self, data: QueryDict, names: Sequence[str]) -> QueryDict:
        """Return the data with the columns that are chosen by their roles, and with roles for the others."""
        data = data.copy()
        for field in ("serial", "name", "images"):
            if chosen := [name for name in dict.fromkeys(names) if data.get(ROLE + name) == field]:
                data.setlist(field, chosen)
                if field != "images" and len(chosen) > 1:
                    self._ambiguous.append(field)
            for name in filter(None, data.getlist(field)):
                data.setdefault(ROLE + name, field)
        return data

    def clean(self) -> dict[str, Any]:
        for field in self._ambiguous:
            self.add_error(field, ValidationError("Choose this for one column only.", "ambiguous"))
        return super().clean()

    def roles(self, columns: Sequence[str]) -> list[tuple[str, forms.BoundField | None]]:
        """Return each column with the field for its role; None without a name, or with an earlier one's."""
        fields = {name: self[ROLE + name] for name in columns if ROLE + name in self.fields}
        return [(name, fields.pop(name, None)) for name in columns]

    def clean_base_url(self) -> str:
        url: str = self.cleaned_data["base_url"]
        try:
            return check_base_url(url) if url else ""
        except ValueError as error:
            raise ValidationError(str(error), "invalid_url") from error

    @property
    def sheets(self) -> list[forms.BoundField]:
        """The field for the sheet where there are several."""
        return [self["sheet"]] if self._has_sheets else []

    @property
    def columns(self) -> list[forms.BoundField]:
        """The fields that assign columns."""
        return [self["serial"], self["name"], self["images"]]

    @property
    def reading(self) -> Reading:
        """The options for reading the file, by the names that `lifecycle.submit` takes."""
        data = self.cleaned_data
        columns: ColumnNames = {"serial": data["serial"], "name": data["name"], "images": data["images"]}
        return {
            "encoding": data["encoding"],
            "columns": columns,
            "base_url": ARCHIVE_URL if self.archive else data["base_url"],
            "sheet": data["sheet"],
        }
