import uuid
from typing import Any

from django.conf import settings
from django.core.files.storage import storages
from django.core.management.base import BaseCommand, CommandError

from processing.storage.outputs import check
from processing.storage.s3 import complaint
from products.models.files import ERRORS

#: Storage, what lies there, and where a file of ours may be put.
PLACES = (("default", "pictures", "images/check-{}"), ("uploads", "catalogues", "check-{}"))


class Command(BaseCommand):
    help = "Writes, reads and deletes a file where pictures are kept, and one where catalogues are."

    def handle(self, *args: Any, **options: Any) -> None:
        bucket = settings.AWS_STORAGE_BUCKET_NAME
        for alias, content, name in PLACES:
            try:
                check(storages[alias], name.format(uuid.uuid4()))
            except ERRORS as error:
                raise CommandError(f"{content}: {complaint(error, bucket or '') or error}") from error
            self.stdout.write(f"{content}: a file was written, read and deleted")
