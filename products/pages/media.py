"""Outputs from local storage, and the way to them wherever they are."""

from uuid import UUID

from django.conf import settings
from django.core.files.storage import storages
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe
from django.views.static import serve

from products.models import Image

#: A stored file is only ever looked at. The browser's own page around a picture has an inline style.
STORED_FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
#: What outputs are, by their endings. Nothing else is served, whatever lies in the folder.
TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "avif": "image/avif"}
HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Content-Security-Policy": STORED_FILE_POLICY,
    "Cross-Origin-Resource-Policy": "cross-origin",  # shops show them
}
#: Seconds that a redirect may be kept; half of what the address that it leads to is signed for.
REDIRECT_SECONDS = 1800


@require_safe
def image(request: HttpRequest, pk: UUID) -> HttpResponseRedirect:
    """To where an output can be read now, for whoever has the link: result files are full of them."""
    output_key = get_object_or_404(Image.objects.exclude(output_key=""), pk=pk).output_key
    headers = {
        "Cache-Control": f"public, max-age={REDIRECT_SECONDS}",
        "Cross-Origin-Resource-Policy": "cross-origin",  # the way to a picture that shops show is part of it
    }
    return HttpResponseRedirect(storages["links"].url(output_key), headers=headers)


@require_safe
def media(request: HttpRequest, key: str) -> HttpResponseBase:
    """An output of local storage, as the picture that its name says and as nothing else."""
    content_type = TYPES.get(key.rpartition(".")[2])
    if settings.AWS_STORAGE_BUCKET_NAME or content_type is None:
        raise Http404
    response = serve(request, key, document_root=str(settings.MEDIA_ROOT))
    for name, value in HEADERS.items():
        response.headers[name] = value
    if "Content-Type" in response.headers:  # 304 has none
        response.headers["Content-Type"] = content_type
    return response
