"""The form of a feed."""

import re
from datetime import time
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from products.catalogue import MAX_URL
from products.feeds.headers import NAMED_TWICE, check_headers
from products.feeds.models import STORAGE, Feed
from products.feeds.schedule import check_schedule, time_zones
from products.feeds.serializers import save_new, save_settings
from products.feeds.validators import validate_feed_url, validate_target
from products.models import Profile

#: Schedules that the form offers; any other is entered as cron fields.
BY_HAND, HOURLY, DAILY, WEEKLY, OTHER = "", "hourly", "daily", "weekly", "other"
OFFERED = [
    (BY_HAND, "Only by hand"),
    (HOURLY, "Hourly"),
    (DAILY, "Daily"),
    (WEEKLY, "Weekly"),
    (OTHER, "Other (cron fields)"),
]
HOURLY_SCHEDULE = "0 * * * *"
#: Days as cron numbers them.
WEEKDAYS = [
    ("1", "Monday"),
    ("2", "Tuesday"),
    ("3", "Wednesday"),
    ("4", "Thursday"),
    ("5", "Friday"),
    ("6", "Saturday"),
    ("0", "Sunday"),
]
DEFAULT_TIME = time(2, 30)
#: A schedule that runs at one time of every day or of one day of the week.
_AT_A_TIME = re.compile(r"(?P<minute>\d{1,2}) (?P<hour>\d{1,2}) \* \* (?P<weekday>\*|[0-6])")

#: Targets of deliveries that the form offers.
NOWHERE, TO_URL = "", "url"
DELIVERIES = [
    (NOWHERE, "Only at the feed’s own address"),
    (TO_URL, "Also to a URL"),
    (STORAGE, "Also to our storage"),
]


class FeedForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """The settings of a feed. Headers are entered as lines and never shown again."""

    url = forms.CharField(
        label="URL",
        max_length=MAX_URL,
        validators=[validate_feed_url],
        help_text="CSV, XLSX, XLS, ODS, XML or JSON, plain, gzipped or in a ZIP with one file.",
    )
    profile = forms.ModelChoiceField(
        Profile.objects.none(), required=False, empty_label="By the columns of the file"
    )
    every = forms.ChoiceField(label="Runs", choices=OFFERED, required=False)
    weekday = forms.ChoiceField(label="Day", choices=WEEKDAYS, required=False)
    time = forms.TimeField(
        label="Time",
        required=False,
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
    )
    cron = forms.CharField(
        label="Cron fields",
        required=False,
        help_text="Minute, hour, day of the month, month and day of the week. 30 5 * * 1-5 is 5:30 on "
        "Monday to Friday.",
    )
    time_zone = forms.ChoiceField(label="Time zone", initial="UTC")
    deliver = forms.ChoiceField(label="Deliver results", choices=DELIVERIES, required=False)
    deliver_url = forms.CharField(
        label="Delivery URL",
        required=False,
        max_length=MAX_URL,
        help_text="We PUT the CSV to it after each good run. A name and a password in it, and what follows "
        "the question mark, are stored encrypted and not shown again.",
    )
    header_lines = forms.CharField(
        label="Headers",
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="One in each line, such as Authorization: Bearer … We store them encrypted and never show "
        "them again.",
    )

    class Meta:
        model = Feed
        fields = ["name", "url", "profile", "time_zone", "when_unchanged"]
        labels = {"when_unchanged": "If the file has not changed"}
        help_texts = {"when_unchanged": "A run finds pictures that have changed at the same URL."}

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        owner = user if self.instance._state.adding else self.instance.owner
        self.fields["profile"].queryset = Profile.objects.usable_by(owner)  # type: ignore[attr-defined]
        self.fields["time_zone"].choices = [(name, name) for name in sorted(time_zones())]  # type: ignore[attr-defined]
        for name, value in _fields_of(self.instance.schedule).items():
            self.fields[name].initial = value
        target = None if self.instance._state.adding else self.instance.deliver_to
        self.fields["deliver"].initial = {None: NOWHERE, STORAGE: STORAGE}.get(target, TO_URL)
        self.fields["deliver_url"].initial = "" if target == STORAGE else target
        if names := self.instance.header_names:
            text = f"{', '.join(names)}: stored. Enter all of them again to replace them."
            self.fields["header_lines"].help_text = text
            self.fields["remove_headers"] = forms.BooleanField(label="Remove the headers", required=False)

    def clean_header_lines(self) -> dict[str, str] | None:
        """Return the headers; None if none are entered."""
        lines = [line for line in self.cleaned_data["header_lines"].splitlines() if line.strip()]
        if any(":" not in line for line in lines):
            raise ValidationError("Write a name, a colon and a value in each line.", "invalid")
        headers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if len(headers) < len(lines):
            raise ValidationError(NAMED_TWICE, "invalid")
        try:
            return check_headers(headers) if headers else None
        except ValueError as error:
            raise ValidationError(str(error), "invalid") from error

    def clean(self) -> dict[str, Any]:
        """Check the schedule and the target of deliveries, of each of which the form has two fields."""
        data = super().clean() or {}
        data["schedule"] = self._schedule(data)
        target = data.get("deliver") or None
        if target == TO_URL:
            target = data.get("deliver_url", "")
            try:
                if not target or target != self.fields["deliver_url"].initial:
                    validate_target(target)
            except ValidationError as error:
                self.add_error("deliver_url", error)
        elif data.get("deliver_url") and "deliver_url" in self.changed_data:
            self.add_error("deliver_url", "To use this, set Deliver results to “Also to a URL”.")
        data["deliver_to"] = target
        return data

    def _schedule(self, data: dict[str, Any]) -> str:
        """Return the cron fields of the schedule that is chosen."""
        every = data.get("every", BY_HAND)
        if every != OTHER and data.get("cron") and "cron" in self.changed_data:
            self.add_error("cron", "To use these, set Runs to “Other (cron fields)”.")
        if every == HOURLY:
            return HOURLY_SCHEDULE
        if every in {DAILY, WEEKLY}:
            at = data.get("time")
            if at is None and "time" not in self.errors:
                self.add_error("time", "Enter a time.")
            weekday = data.get("weekday") or "1"
            return f"{at.minute} {at.hour} * * {weekday if every == WEEKLY else '*'}" if at else ""
        if every == OTHER:
            try:
                return check_schedule(data.get("cron", ""))
            except ValueError as error:
                self.add_error("cron", ValidationError(str(error), "invalid"))
        return ""

    def save(self, commit: bool = True) -> Feed:
        """Save a new feed, or what the form has of an old one."""
        feed: Feed = self.instance
        changed = {name: self.cleaned_data[name] for name in (*self.Meta.fields, "schedule", "deliver_to")}
        if self.cleaned_data.get("remove_headers"):
            changed["headers"] = {}
        if headers := self.cleaned_data["header_lines"]:
            changed["headers"] = headers
        if not feed._state.adding:
            stored = Feed.objects.get(pk=feed.pk)  # the form has changed the fields of `feed` already
            save_settings(stored, changed)
            return stored
        target = changed.pop("deliver_to")
        for name, value in changed.items():
            setattr(feed, name, value)
        return save_new(feed, target)


def _fields_of(schedule: str) -> dict[str, Any]:
    """Return the form's fields that show a schedule."""
    fields = {"every": schedule, "weekday": "1", "time": DEFAULT_TIME, "cron": ""}
    if not schedule:
        return fields
    if schedule == HOURLY_SCHEDULE:
        return fields | {"every": HOURLY}
    found = _AT_A_TIME.fullmatch(schedule)
    if not found:
        return fields | {"every": OTHER, "cron": schedule}
    fields["time"] = time(int(found["hour"]), int(found["minute"]))
    if found["weekday"] == "*":
        return fields | {"every": DAILY}
    return fields | {"every": WEEKLY, "weekday": found["weekday"]}
