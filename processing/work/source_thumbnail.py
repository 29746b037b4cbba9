"""Small pictures of sources, fetched when somebody compares one with its output: nothing of them is kept."""

from threading import BoundedSemaphore, Lock
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET

from processing.compress import CompressError, Options, compress_isolated
from processing.http.transport import guarded_transport
from processing.work.fetch import FetchError, fetch
from products.pages.thumbnails import SIDE, image_with_output

#: For what lets somebody wait before a page; workers have longer.
FETCH_SECONDS, DECODE_SECONDS = 5, 10
#: How many a process asks for at once: slow origins must not take all of its threads.
AT_ONCE = 2
_places = BoundedSemaphore(AT_ONCE)
#: One at a time: a large picture takes memory while it is decoded.
_codec = Lock()
_OPTIONS = Options(quality=70, format="webp", max_width=SIDE, max_height=SIDE)


@require_GET
@login_required
def source_thumbnail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The source of an Image that has its output here, as it is now, as a small WebP for those who may see
    its Request.

    A picture that says so where the source cannot be had; 503 with one while enough others are fetched.
    """
    url = image_with_output(request, pk).url
    if not _places.acquire(blocking=False):
        return _placeholder("Busy: reload", {"Retry-After": str(FETCH_SECONDS)}, status=503)
    try:
        data = _small(url)
    except (FetchError, CompressError):  # no error to the browser, which would complain of it on its console
        return _placeholder("Not available", {"Cache-Control": "private, max-age=60"})
    finally:
        _places.release()
    headers = {"Cache-Control": "private, max-age=2592000, immutable"}
    return HttpResponse(data, content_type="image/webp", headers=headers)


def _small(url: str) -> bytes:
    """The source, scaled down. Strangers choose what it is, so a process of its own decodes it."""
    with guarded_transport(allowed_networks=settings.FETCH_ALLOWED_NETWORKS, max_connections=1) as transport:
        fetched = fetch(
            transport,
            url,
            timeout=FETCH_SECONDS,
            max_bytes=settings.FETCH_MAX_BYTES,
            user_agent=settings.FETCH_USER_AGENT,
        )
    most = settings.IMAGE_MAX_PIXELS
    with _codec:
        return compress_isolated(fetched.data, _OPTIONS, max_pixels=most, seconds=DECODE_SECONDS).data


def _placeholder(words: str, headers: dict[str, str], status: int = 200) -> HttpResponse:
    drawing = render_to_string("work/placeholder.svg", {"words": words})
    return HttpResponse(drawing, content_type="image/svg+xml", status=status, headers=headers)
