"""The words for states and formats."""

from django.db import models


class RequestStatus(models.TextChoices):
    """Of a Request, and, derived, of each of its Products."""

    PENDING = "pending", "Pending"
    PROCESSING = "processing", "Processing"
    COMPLETED = "completed", "Completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors", "Completed with errors"
    FAILED = "failed", "Failed"
    CANCELED = "canceled", "Canceled"


class Sweep(models.TextChoices):
    """What a Request has gone through already and its rows have yet to follow, some thousand at a time."""

    CANCEL = "cancel", "Cancel"
    RETRY = "retry", "Retry"
    DELETE = "delete", "Delete"


class ImageStatus(models.TextChoices):
    """Of an Image."""

    PENDING = "pending", "Pending"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELED = "canceled", "Canceled"


class Format(models.TextChoices):
    """What pictures are turned into."""

    JPEG = "jpeg", "JPEG"
    WEBP = "webp", "WebP"
    AVIF = "avif", "AVIF"
    ORIGINAL = "original", "Original"
