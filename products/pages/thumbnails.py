"""Small pictures of outputs, made when a page shows them."""

from functools import lru_cache
from io import BytesIO
from threading import Lock
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.files.storage import default_storage
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe
from PIL import Image as Pillow

from products.models import Image, Request
from products.models.files import ERRORS

#: Twice as many pixels as they are shown with, for screens that have them.
SIDE = 192
#: Some 10 KB each.
KEPT = 1000
#: One at a time: a large output takes memory while it is decoded.
_codec = Lock()


@require_safe
@login_required
def thumbnail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """An Image's output as a small WebP, for those who may see its Request; 404 where there is none here."""
    image = image_with_output(request, pk)
    try:
        data = _thumbnail(image.output_key)
    except (*ERRORS, Pillow.DecompressionBombError) as error:
        raise Http404 from error
    # An Image's output never changes once it is there.
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return HttpResponse(data, content_type="image/webp", headers=headers)


def image_with_output(request: HttpRequest, pk: UUID) -> Image:
    """The Image, for those who may see its Request. Raises Http404 where it has no output here."""
    visible = Image.objects.filter(request__in=Request.objects.visible_to(request.user))
    return get_object_or_404(visible.exclude(output_key=""), pk=pk)


@lru_cache(KEPT)
def _thumbnail(key: str) -> bytes:
    """The stored output, scaled down. Outputs are named by their content, so it can be kept."""
    with default_storage.open(key) as file:
        data = file.read()
    with _codec, Pillow.open(BytesIO(data)) as picture:
        picture.draft("RGB", (SIDE, SIDE))  # a JPEG is decoded at the size that is wanted, or a little above
        picture.thumbnail((SIDE, SIDE))
        buffer = BytesIO()
        picture.save(buffer, "WEBP", quality=70)
        return buffer.getvalue()
