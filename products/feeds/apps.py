from django.apps import AppConfig


class FeedsConfig(AppConfig):
    name = "products.feeds"
    label = "feeds"
    verbose_name = "Feeds"

    def ready(self) -> None:
        """Connect the receivers. They import models, so not earlier."""
        from products.feeds import receivers  # noqa: F401, PLC0415
