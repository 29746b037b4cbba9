"""Files that are made while they are sent."""

from collections.abc import Iterator

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header


def download(pieces: Iterator[bytes], filename: str, content_type: str) -> StreamingHttpResponse:
    """An answer that the browser saves under `filename`."""
    # Not a FileResponse: what is no file object gets no name from it.
    headers = {"Content-Disposition": str(content_disposition_header(True, filename))}
    return StreamingHttpResponse(pieces, content_type=content_type, headers=headers)
