import gc

from django.apps import AppConfig


class ProcessingConfig(AppConfig):
    name = "processing"
    verbose_name = "Processing"

    def ready(self) -> None:
        """Connect what needs models, which exist only now."""
        import dramatiq  # noqa: PLC0415

        from processing.feeds import receivers as feed_receivers  # noqa: F401, PLC0415
        from processing.mail import receivers as mail_receivers  # noqa: F401, PLC0415
        from processing.work import receivers  # noqa: F401, PLC0415
        from processing.workers import worker  # noqa: PLC0415

        dramatiq.get_broker().add_middleware(worker.WorkerMiddleware())

        # Modules stay to the end: the collector, which settings have disabled, never need look at them.
        gc.freeze()
        gc.enable()
