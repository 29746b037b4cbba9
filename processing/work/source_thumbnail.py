"""Thumbnails of source pictures for comparison with their outputs, fetched on demand and not stored."""

from threading import BoundedSemaphore, Lock
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET

from processing.compress import CompressError, Recipe, compress_isolated
from processing.work.fetch import FetchError, fetch_alone
from products.pages.pictures import image_with_output
from products.pages.thumbnail import THUMBNAIL_PIXELS

#: Shorter than a worker's timeouts, because a user is waiting.
FETCH_SECONDS, DECODE_SECONDS = 5, 10
#: Fetches at once in a web process. Slow origins must not occupy all of its threads.
MAX_CONCURRENT = 2
_slots = BoundedSemaphore(MAX_CONCURRENT)
# One at a time: decoding a large picture takes memory.
_decoding = Lock()
_RECIPE = Recipe(quality=70, format="webp", max_width=THUMBNAIL_PIXELS, max_height=THUMBNAIL_PIXELS)


@require_GET
@login_required
def source_thumbnail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Fetch the source of an Image now and answer with a small WebP, for users who may see its Request.

    Answers with a placeholder picture if the source is not available, and 503 while MAX_CONCURRENT others
    are being fetched.
    """
    url = image_with_output(request, pk).source_url
    if not _slots.acquire(blocking=False):
        return _placeholder("Busy, reload", {"Retry-After": str(FETCH_SECONDS)}, status=503)
    try:
        data = _fetch_thumbnail(url)
    except (FetchError, CompressError):  # 200, since browsers log errors to the console
        return _placeholder("Not available", {"Cache-Control": "private, max-age=60"})
    finally:
        _slots.release()
    headers = {"Cache-Control": "private, max-age=2592000, immutable"}
    return HttpResponse(data, content_type="image/webp", headers=headers)


def _fetch_thumbnail(url: str) -> bytes:
    """Fetch a picture and scale it down. The data is untrusted, so a separate process decodes it."""
    data = fetch_alone(url, timeout=FETCH_SECONDS, max_bytes=settings.FETCH_MAX_BYTES)
    with _decoding:
        compressed = compress_isolated(
            data, _RECIPE, max_pixels=settings.IMAGE_MAX_PIXELS, seconds=DECODE_SECONDS
        )
    return compressed.data


def _placeholder(text: str, headers: dict[str, str], status: int = 200) -> HttpResponse:
    drawing = render_to_string("work/placeholder.svg", {"text": text})
    return HttpResponse(drawing, content_type="image/svg+xml", status=status, headers=headers)
