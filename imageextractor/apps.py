from django.apps import AppConfig


class ImageExtractorConfig(AppConfig):
    name = "imageextractor"
    verbose_name = "Image Extractor"

    def ready(self) -> None:
        """Register the system checks."""
        from imageextractor import checks  # noqa: F401, PLC0415
