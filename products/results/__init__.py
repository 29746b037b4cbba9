"""Downloads that are generated while they are sent."""

from collections.abc import Iterator
from pathlib import PurePath

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header

from products.models import Request


def download_name(batch: Request, *kinds: str, suffix: str = ".csv") -> str:
    """Return a file name such as `catalogue-failed-excel.csv` for a download of this Request."""
    return "-".join([PurePath(batch.filename).stem, *kinds]) + suffix


def download(pieces: Iterator[bytes], filename: str, content_type: str) -> StreamingHttpResponse:
    """Return a response that the browser saves as `filename`."""
    # FileResponse would set the name only for a file object.
    headers = {"Content-Disposition": str(content_disposition_header(True, filename))}
    return StreamingHttpResponse(pieces, content_type=content_type, headers=headers)
