"""Compression of pages, and of style sheets and scripts that collectstatic has not compressed."""

from django.http import HttpRequest, HttpResponseBase
from django.middleware.gzip import GZipMiddleware

#: Pictures and archives are compressed already; results are sent with their length and in ranges.
COMPRESSED_TYPES = ("text/html", "text/css", "text/javascript")


class CompressPagesMiddleware(GZipMiddleware):
    """Compress what a browser loads to show a page.

    How well a page can be compressed tells something about what is in it (the BREACH attack). So answers to
    POST, in which new tokens and secrets are shown, stay as they are, others get a random length, and the
    tokens in forms differ each time.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Compress `response` if the browser accepts that."""
        content_type = response.headers.get("Content-Type", "").partition(";")[0]
        if request.method != "GET" or response.status_code != 200 or content_type not in COMPRESSED_TYPES:
            return response
        response = super().process_response(request, response)
        # Compression makes the ETag weak, and whitenoise matches no weak one. Without it browsers ask by
        # Last-Modified.
        if response.headers.get("ETag", "").startswith("W/"):
            del response.headers["ETag"]
        return response
