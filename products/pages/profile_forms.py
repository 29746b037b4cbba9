"""Forms of profiles: saving options as one, and taking over the options of one."""

import json
from typing import Any

from django import forms
from django.http import QueryDict

from products.models import Profile
from products.pages.forms import ROLE, OptionsForm


class SaveProfileForm(forms.Form):
    """The name of a new profile, and whether catalogues with the same columns get it."""

    profile_name = forms.CharField(label="Name", max_length=100)
    for_header = forms.BooleanField(
        label="Use for these columns",
        required=False,
        initial=True,
        help_text="Files with the same columns, in any order, get the profile by themselves.",
    )


def with_profile(data: QueryDict, profile: Profile | None) -> QueryDict:
    """Return the data of a draft's form, with the options of a profile in place of those that it had."""
    data = data.copy()
    options = profile.options if profile else {}
    for name, field in OptionsForm.base_fields.items():
        initial = field.initial() if callable(field.initial) else field.initial
        _set(data, name, options.get(name, initial))
    for name in {"encoding", "base_url", "sheet"} & options.keys():
        _set(data, name, options[name])
    if columns := options.get("columns"):
        for key in [key for key in data if key.startswith(ROLE)]:
            del data[key]
        _set(data, "serial", columns.get("serial"))
        _set(data, "name", columns.get("name"))
        data.setlist("images", columns.get("images", []))
    _set(data, "profile", profile and str(profile.pk))
    _set(data, "shown_profile", profile and str(profile.pk))
    return data


def _set(data: QueryDict, name: str, value: Any) -> None:
    """Set a field of a form as a browser would send it."""
    if value is False:
        data.pop(name, None)
    elif value is True:
        data[name] = "on"
    else:
        data[name] = json.dumps(value) if isinstance(value, list) and value else str(value or "")
