"""Statuses and output formats."""

from django.db import models


class RequestStatus(models.TextChoices):
    """Status of a Request and, derived from its Images, of a Product."""

    PENDING = "pending", "Pending"
    PROCESSING = "processing", "Processing"
    COMPLETED = "completed", "Completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors", "Completed with errors"
    FAILED = "failed", "Failed"
    CANCELED = "canceled", "Canceled"


class Sweep(models.TextChoices):
    """A change that is made to a Request's row at once, and to its other rows some thousand at a time."""

    CANCEL = "cancel", "Cancel"
    RETRY = "retry", "Retry"
    DELETE = "delete", "Delete"


class ImageStatus(models.TextChoices):
    """Status of an Image."""

    PENDING = "pending", "Pending"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELED = "canceled", "Canceled"
    IGNORED = "ignored", "Left out"  # failed, and left out by its user


class RunOrigin(models.TextChoices):
    """The cause of a run."""

    UPLOAD = "upload", "Upload"
    RETRY = "retry", "Retry"
    REPLACE = "replace", "Corrected URLs"
    FEED = "feed", "Feed"
    REPEAT = "repeat", "Repeat"


class Format(models.TextChoices):
    """Format of outputs."""

    JPEG = "jpeg", "JPEG"
    WEBP = "webp", "WebP"
    AVIF = "avif", "AVIF"
    ORIGINAL = "original", "Original"
