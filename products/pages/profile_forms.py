"""Forms of profiles: saving options as one, changing one, and taking over the options of one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import QueryDict

from products.catalogue import ARCHIVE_URL, Reading
from products.models import Profile
from products.models.profile import MAX_PROFILES, NAME_TAKEN, TOO_MANY_PROFILES, NameTaken
from products.pages.option_forms import OptionsForm, default_of
from products.pages.rendition_forms import TRANSPARENT, RenditionForm
from products.pages.upload_forms import ROLE

MAX_NAME = 100


def chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not as they are by default, which are those that a profile keeps.

    A ZIP's base URL is left out: other catalogues have other ZIPs, or none.
    """
    defaults = {name: default_of(field) for name, field in OptionsForm.base_fields.items()}
    known = [*defaults, *Reading.__annotations__]
    given = [name for name in known if name in options and options[name] != ARCHIVE_URL]
    return {name: options[name] for name in given if (options[name] or None) != (defaults.get(name) or None)}


class SaveProfileForm(forms.Form):
    """The name of a new profile, and whether catalogues with the same columns get it."""

    use_required_attribute = False  # in the form of a preview, it may be left empty

    profile_name = forms.CharField(label="Profile name", max_length=MAX_NAME)
    for_header = forms.BooleanField(
        label="Choose it for files with these columns",
        required=False,
        initial=True,
        help_text="Files with the same column names, in any order, get its options automatically.",
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._user = user

    def clean_profile_name(self) -> str:
        name: str = self.cleaned_data["profile_name"]
        own = Profile.objects.owned_by(self._user)
        if own.filter(name=name).exists():
            raise ValidationError(NAME_TAKEN, "unique")
        if own.count() >= MAX_PROFILES:
            raise ValidationError(TOO_MANY_PROFILES, "too_many_profiles")
        return name

    def save(self, options: Mapping[str, Any], header: Sequence[str] | None) -> Profile | None:
        """Create the profile of these options, for catalogues with this header if that is wanted.

        Returns None, with an error of the form, if its name has been taken since the form was checked.
        """
        try:
            return Profile.objects.create(
                owner=self._user,
                name=self.cleaned_data["profile_name"],
                options=chosen(options),
                header=header if self.cleaned_data["for_header"] else None,
            )
        except NameTaken:
            self.add_error("profile_name", ValidationError(NAME_TAKEN, "unique"))
            return None


def _facts(options: Mapping[str, Any], fields: Mapping[str, forms.Field]) -> list[tuple[str, str]]:
    """Return options as labels of their fields and texts, in the order of the fields."""
    return [
        (str(field.label), _text_of(field, options[name]))
        for name, field in fields.items()
        if name in options
    ]


def _text_of(field: forms.Field, value: object) -> str:
    """Return the value of an option as the page says it: the label of a choice, a side with its unit."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(field.widget, forms.Select):
        return str(dict(field.widget.choices).get(str(value), value))
    return f"{value} px" if isinstance(field.widget, forms.NumberInput) else str(value)


def _in_one_line(rendition: Mapping[str, Any]) -> str:
    options = {name: value or TRANSPARENT for name, value in rendition.items() if name != "name"}
    facts = _facts(options, RenditionForm.base_fields)
    return ", ".join(f"{label.lower()} {text}" for label, text in facts) or "as the main picture"


class ProfileForm(OptionsForm):
    """The name and the options of a profile. Options for reading files stay as they were."""

    name = forms.CharField(label="Name", max_length=MAX_NAME)
    for_header = SaveProfileForm.base_fields["for_header"]

    def __init__(self, profile: Profile, data: QueryDict | None = None) -> None:
        initial = {**profile.options, "name": profile.name, "for_header": bool(profile.header)}
        super().__init__(data, initial=initial)
        self._profile = profile
        if not profile.header:
            del self.fields["for_header"]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The options of the profile as labels and texts, with a line for each rendition."""
        options = {name: value for name, value in self._profile.options.items() if value not in (None, "")}
        renditions = options.pop("renditions", [])
        return [
            *_facts(options, OptionsForm.base_fields),
            *[(f"Rendition {one['name']}", _in_one_line(one)) for one in renditions],
        ]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        others = Profile.objects.filter(owner=self._profile.owner_id).exclude(pk=self._profile.pk)
        if others.filter(name=name).exists():
            raise ValidationError(NAME_TAKEN, "unique")
        return name

    def save(self) -> bool:
        """Save the name and the options that are not as they are by default.

        Returns False, with an error of the form, if the name has been taken since the form was checked.
        """
        profile = self._profile
        profile.name = self.cleaned_data["name"]
        profile.options = chosen({**profile.options, **self.cleaned_options})
        if not self.cleaned_data.get("for_header"):
            profile.header = None
        try:
            profile.save(update_fields=["name", "options", "header", "header_hash"])
        except NameTaken:
            self.add_error("name", ValidationError(NAME_TAKEN, "unique"))
            return False
        return True


def with_profile(data: QueryDict, profile: Profile | None) -> QueryDict:
    """Return the data of a draft's form, with the options of a profile in place of those that it had.

    They are previewed, whatever button was used.
    """
    data = data.copy()
    options = profile.options if profile else {}
    for key in [key for key in data if key.startswith("renditions-")]:
        del data[key]
    for name, field in OptionsForm.base_fields.items():
        _set(data, name, options.get(name, default_of(field)))
    for name in {"encoding", "base_url", "sheet"} & options.keys():
        _set(data, name, options[name])
    if columns := options.get("columns"):
        for key in [key for key in data if key.startswith(ROLE)]:
            del data[key]
        _set(data, "serial", columns.get("serial"))
        _set(data, "name", columns.get("name"))
        data.setlist("images", columns.get("images", []))
    _set(data, "step", "preview")
    for name in ("profile", "shown_profile"):
        _set(data, name, str(profile.pk) if profile else "")
    return data


def _set(data: QueryDict, name: str, value: Any) -> None:
    """Set a field of a form as a browser would send it."""
    if value is False:
        data.pop(name, None)
    elif value is True:
        data[name] = "on"
    else:
        data[name] = json.dumps(value) if isinstance(value, list) and value else str(value or "")
