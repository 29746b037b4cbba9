"""Source pictures, whole or as thumbnails, to compare with their outputs: fetched on demand, not stored."""

from threading import BoundedSemaphore, Lock
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET

from processing.compress import Compressed, CompressError, Recipe, compress_isolated
from processing.work.fetch import FetchError
from processing.work.uploaded import picture_data
from products.models import Image
from products.pages.pictures import image_with_output
from products.pages.thumbnail import THUMBNAIL_PIXELS

#: Shorter than a worker's timeouts, because a user is waiting.
FETCH_SECONDS, DECODE_SECONDS = 5, 10
#: Fetches at once in a web process. Slow origins must not occupy all of its threads.
MAX_CONCURRENT = 2
_slots = BoundedSemaphore(MAX_CONCURRENT)
# One at a time: decoding a large picture takes memory.
_decoding = Lock()
_THUMBNAIL = Recipe(quality=70, format="webp", max_width=THUMBNAIL_PIXELS, max_height=THUMBNAIL_PIXELS)
#: Keeps the source's own picture data unless that is larger.
_WHOLE = Recipe(quality=95, format="original")


@require_GET
@login_required
def source_thumbnail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Fetch the source of an Image now and answer with a small WebP, for users who may see its Request.

    Answers with a placeholder picture if the source is not available, and 503 while MAX_CONCURRENT others
    are being fetched.
    """
    return _answer(request, pk, _THUMBNAIL)


@require_GET
@login_required
def source_picture(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Fetch the source of an Image now and answer with all of its pixels, as `source_thumbnail` does."""
    return _answer(request, pk, _WHOLE)


def _answer(request: HttpRequest, pk: UUID, recipe: Recipe) -> HttpResponse:
    image = image_with_output(request, pk)
    if not _slots.acquire(blocking=False):
        return _placeholder("Busy, reload", {"Retry-After": str(FETCH_SECONDS)}, status=503)
    try:
        made = _fetch(image, recipe)
    except (FetchError, CompressError):  # 200, since browsers log errors to the console
        return _placeholder("Not available", {"Cache-Control": "private, max-age=60"})
    finally:
        _slots.release()
    headers = {"Cache-Control": "private, max-age=2592000, immutable"}
    return HttpResponse(made.data, content_type=f"image/{made.output.format}", headers=headers)


def _fetch(image: Image, recipe: Recipe) -> Compressed:
    """Fetch a picture and make an output of it. The data is untrusted, so a separate process decodes it."""
    data = picture_data(image.request, image.source_url, FETCH_SECONDS)
    with _decoding:
        return compress_isolated(data, recipe, max_pixels=settings.IMAGE_MAX_PIXELS, seconds=DECODE_SECONDS)


def _placeholder(text: str, headers: dict[str, str], status: int = 200) -> HttpResponse:
    drawing = render_to_string("work/placeholder.svg", {"text": text})
    return HttpResponse(drawing, content_type="image/svg+xml", status=status, headers=headers)
