import uuid
from typing import Any

from django.conf import settings
from django.core.files.storage import storages
from django.core.management.base import BaseCommand, CommandError

from processing.storage.outputs import check_storage
from processing.storage.s3 import explain
from products.models.files import STORAGE_ERRORS

#: Alias of a storage, its content, and the name of the file to write.
CHECKED_STORAGES = (("default", "pictures", "images/check-{}"), ("uploads", "catalogues", "check-{}"))


class Command(BaseCommand):
    help = "Writes, reads and deletes a file in the storage of pictures and in that of catalogues."

    def handle(self, *args: Any, **options: Any) -> None:
        bucket = settings.AWS_STORAGE_BUCKET_NAME
        for alias, content, name in CHECKED_STORAGES:
            try:
                check_storage(storages[alias], name.format(uuid.uuid4()))
            except STORAGE_ERRORS as error:
                raise CommandError(f"{content}: {explain(error, bucket or '') or error}") from error
            self.stdout.write(f"{content}: a file was written, read and deleted")
