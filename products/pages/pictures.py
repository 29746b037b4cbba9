"""Output pictures over HTTP: files in local storage, redirects to other storages, thumbnails."""

from functools import lru_cache
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.files.storage import default_storage, storages
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
)
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe
from django.views.static import serve
from PIL import Image as Pillow

from products.models import Image, Rendition, Request
from products.models.files import STORAGE_ERRORS
from products.pages.thumbnail import Busy, make_thumbnail

#: Content types by file extension. Other files in the folder are not served.
CONTENT_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "avif": "image/avif"}
#: Browsers wrap a picture in a page of their own, which has an inline style.
MEDIA_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
MEDIA_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Content-Security-Policy": MEDIA_POLICY,
    "Cross-Origin-Resource-Policy": "cross-origin",  # shops embed these pictures
}
#: Half of the time for which the signature in the redirect's target is valid.
REDIRECT_CACHE_SECONDS = 1800

#: About 10 KB each.
MAX_CACHED_THUMBNAILS = 1000
#: When to ask again for a thumbnail of a large output while others are being made.
BUSY_SECONDS = 5


@require_safe
def media(request: HttpRequest, key: str) -> HttpResponseBase:
    """Serve an output from local storage. Its extension alone decides the content type."""
    content_type = CONTENT_TYPES.get(key.rpartition(".")[2])
    if settings.AWS_STORAGE_BUCKET_NAME or content_type is None:
        raise Http404
    response = serve(request, key, document_root=str(settings.MEDIA_ROOT))
    for name, value in MEDIA_HEADERS.items():
        response.headers[name] = value
    if "Content-Type" in response.headers:  # absent in a 304
        response.headers["Content-Type"] = content_type
    return response


@require_safe
def image(request: HttpRequest, pk: UUID) -> HttpResponseRedirect:
    """Redirect anyone with the link to an Image's output. Result files contain these links."""
    return _redirect(get_object_or_404(Image.objects.exclude(output_key=""), pk=pk).output_key)


@require_safe
def rendition(request: HttpRequest, pk: UUID, name: str) -> HttpResponseRedirect:
    """Redirect anyone with the link to a rendition of an Image."""
    return _redirect(get_object_or_404(Rendition, image=pk, name=name).key)


def _redirect(key: str) -> HttpResponseRedirect:
    headers = {
        "Cache-Control": f"public, max-age={REDIRECT_CACHE_SECONDS}",
        "Cross-Origin-Resource-Policy": "cross-origin",  # shops embed these pictures through the redirect
    }
    return HttpResponseRedirect(storages["links"].url(key), headers=headers)


@require_safe
@login_required
def thumbnail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Answer with an Image's output as a small WebP. 404 if it is missing or not visible to the user."""
    return thumbnail_of(image_with_output(request, pk))


def thumbnail_of(image: Image) -> HttpResponse:
    """Return an answer with an Image's output as a small WebP. Raises Http404 if the output is missing.

    It is a 503 if the output is large and too many others are being made.
    """
    try:
        data = _make_thumbnail(image.output_key)
    except Busy:
        return HttpResponse(status=503, headers={"Retry-After": str(BUSY_SECONDS)})
    except (*STORAGE_ERRORS, Pillow.DecompressionBombError) as error:
        raise Http404 from error
    # The output of an Image never changes once it exists.
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return HttpResponse(data, content_type="image/webp", headers=headers)


@require_safe
@login_required
def output(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Answer with an Image's output from this server, wherever it is stored, for pages that compare it."""
    key = image_with_output(request, pk).output_key
    try:
        file = default_storage.open(key)
    except STORAGE_ERRORS as error:
        raise Http404 from error
    headers = {
        "Content-Security-Policy": MEDIA_POLICY,
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    return FileResponse(file, content_type=CONTENT_TYPES[key.rpartition(".")[2]], headers=headers)


def image_with_output(request: HttpRequest, pk: UUID) -> Image:
    """Return an Image with a stored output. Raises Http404 unless the user may see its Request."""
    visible = Image.objects.filter(request__in=Request.objects.visible_to(request.user))
    return get_object_or_404(visible.exclude(output_key=""), pk=pk)


@lru_cache(MAX_CACHED_THUMBNAILS)
def _make_thumbnail(output_key: str) -> bytes:
    """Scale a stored output down to WebP. Keys are content hashes, so results can be cached."""
    with default_storage.open(output_key) as file:
        return make_thumbnail(file.read())
