from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "processing.webhooks"
    label = "webhooks"
    verbose_name = "Webhooks"

    def ready(self) -> None:
        """Connect the receivers. They import models, so not earlier."""
        from processing.webhooks import receivers  # noqa: F401, PLC0415
