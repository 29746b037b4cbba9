"""Where the outputs of pictures are."""

import re
import uuid
from functools import cached_property

from django.conf import settings
from django.core.files.storage import default_storage
from django.urls import reverse

#: What keys of outputs look like, with no character that stands for another in a URL.
_USUAL_KEY = re.compile(r"images/[0-9a-f]{2}/[0-9a-f]+\.[a-z]+")
_SOME_KEY = "images/00/00.jpg"


class Addresses:
    """Tells where outputs are. Made for many of them at once, it asks settings and storage but once."""

    def __init__(self) -> None:
        self._signed = settings.AWS_S3_SIGNED_URLS
        self._public_url = settings.PUBLIC_URL

    @cached_property
    def _beginning(self) -> str:
        # Storages need longer for an address than all else about a picture takes, and all begin alike.
        return default_storage.url(_SOME_KEY).removesuffix(_SOME_KEY)

    def path(self, image_id: uuid.UUID, output_key: str, external_url: str) -> str:
        """Of such an Image's output: a path on this server, or a full URL if it is elsewhere; "" if none."""
        if not output_key:
            return external_url
        if self._signed:  # a signed address holds for an hour, the one that signs it for ever
            return reverse("image", args=[image_id])
        if _USUAL_KEY.fullmatch(output_key):
            return self._beginning + output_key
        return default_storage.url(output_key)

    def url(self, image_id: uuid.UUID, output_key: str, external_url: str) -> str:
        """The full URL under PUBLIC_URL, for places that know no HTTP request; "" if none."""
        path = self.path(image_id, output_key, external_url)
        return f"{self._public_url}{path}" if path.startswith("/") else path
