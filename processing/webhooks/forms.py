"""What people fill in about webhooks."""

from django import forms
from django.core.exceptions import ValidationError

from processing.webhooks.models import EVENT_CHOICES, DeliveryStatus, WebhookEndpoint, default_events
from products.catalogue import MAX_URL, url_problem


def check_url(url: str) -> None:
    """Refuse what cannot be an http(s) URL."""
    if problem := url_problem(url):
        raise ValidationError(problem, "invalid_url")


class EndpointForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """An endpoint as its owner describes it."""

    url = forms.CharField(
        label="URL",
        max_length=MAX_URL,
        validators=[check_url],
        help_text="Where events are sent to, by POST.",
    )
    events = forms.MultipleChoiceField(
        choices=EVENT_CHOICES,
        initial=default_events,
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = WebhookEndpoint
        fields = ["url", "description", "events"]
        help_texts = {"description": "For yourself."}


class ReplayForm(forms.Form):
    """Which deliveries are to go out again."""

    status = forms.ChoiceField(
        label="What",
        choices=[
            (DeliveryStatus.FAILED, "what has failed"),
            (DeliveryStatus.MISSED, "what was missed while disabled"),
        ],
    )
    since = forms.DateTimeField(
        label="Since",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="In UTC; empty: all.",
    )
