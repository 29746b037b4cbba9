"""URLs of outputs."""

import re
import uuid
from functools import cached_property

from django.conf import settings
from django.core.files.storage import default_storage
from django.urls import reverse

#: The usual form of output keys, which needs no escaping in a URL.
_USUAL_KEY = re.compile(r"images/[0-9a-f]{2}/[0-9a-f]+(/[a-z0-9-]+)?\.[a-z]+")
_SOME_KEY = "images/00/00.jpg"


class OutputUrls:
    """Builds URLs of outputs. Use one instance for many: it reads settings and storage only once."""

    def __init__(self) -> None:
        self._signed = settings.AWS_S3_SIGNED_URLS
        self._public_url = settings.PUBLIC_URL

    @cached_property
    def _beginning(self) -> str:
        # Storages are slow at building URLs, and all URLs have the same beginning.
        return default_storage.url(_SOME_KEY).removesuffix(_SOME_KEY)

    def path(self, image_id: uuid.UUID, output_key: str, external_url: str, rendition: str = "") -> str:
        """Return the path on this server of an Image's output, or its full URL elsewhere; "" if none.

        `rendition` is the name of one of its renditions.
        """
        if not output_key:
            return external_url
        if self._signed:  # signed URLs expire, that of the redirect does not
            if rendition:
                return reverse("rendition", args=[image_id, rendition])
            return reverse("image", args=[image_id])
        if _USUAL_KEY.fullmatch(output_key):
            return self._beginning + output_key
        return default_storage.url(output_key)

    def url(self, image_id: uuid.UUID, output_key: str, external_url: str, rendition: str = "") -> str:
        """Return the full URL of an output, below PUBLIC_URL if it is on this server; "" if none."""
        path = self.path(image_id, output_key, external_url, rendition)
        return f"{self._public_url}{path}" if path.startswith("/") else path
