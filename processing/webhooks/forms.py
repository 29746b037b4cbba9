"""Forms of the webhook pages."""

from django import forms

from processing.webhooks.models import EVENT_CHOICES, DeliveryStatus, Kind, WebhookEndpoint, default_events
from processing.webhooks.validators import validate_webhook_url
from products.catalogue import MAX_URL


class EndpointForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """The settings of an endpoint."""

    url = forms.CharField(
        label="URL",
        max_length=MAX_URL,
        validators=[validate_webhook_url],
        help_text="Receives events as POST requests.",
    )
    kind = forms.ChoiceField(
        choices=Kind.choices,
        required=False,
        help_text="Messages of Slack, Microsoft Teams and Discord are not signed.",
    )
    events = forms.MultipleChoiceField(
        choices=EVENT_CHOICES,
        initial=default_events,
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = WebhookEndpoint
        fields = ["url", "kind", "description", "events"]
        help_texts = {"description": "Only you see it."}

    def clean_kind(self) -> str:
        """Return the kind as it is if the form does not say one."""
        return str(self.cleaned_data["kind"] or self.instance.kind)


class ReplayForm(forms.Form):
    """The deliveries to send again."""

    status = forms.ChoiceField(
        label="Deliveries",
        choices=[
            (DeliveryStatus.FAILED, "Failed"),
            (DeliveryStatus.MISSED, "Missed while the endpoint was disabled"),
        ],
    )
    since = forms.DateTimeField(
        label="Since",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="In UTC. Leave it empty to redeliver all.",
    )
