"""What an operator should know before anything starts."""

from typing import Any

from django.conf import settings
from django.core import checks


@checks.register
def local_files_in_a_cluster(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Local files serve a cluster only on a volume that all of it shares."""
    if settings.EMBEDDED or settings.AWS_STORAGE_BUCKET_NAME:
        return []
    message = f"Files are kept in {settings.DATA_DIR}, which every web and worker machine has to share."
    hint = "Mount one volume there on all of them, or set AWS_STORAGE_BUCKET_NAME to keep them on S3."
    return [checks.Info(message, hint=hint, id="processing.I001")]
