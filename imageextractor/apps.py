from django.apps import AppConfig


class ImageExtractorConfig(AppConfig):
    name = "imageextractor"
    verbose_name = "Image Extractor"

    def ready(self) -> None:
        """Register the system checks, and record HTTP requests where traces are on."""
        from django.conf import settings  # noqa: PLC0415

        from imageextractor import checks  # noqa: F401, PLC0415

        if settings.TRACES:
            from imageextractor import traces  # noqa: PLC0415 (an extra)

            traces.instrument_django()
