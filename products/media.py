"""Outputs from local storage. With S3 their URLs lead to the bucket, and none leads here."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseBase
from django.views.decorators.http import require_safe
from django.views.static import serve

from products.headers import STORED_FILE_POLICY

#: What outputs are, by their endings. Nothing else is served, whatever lies in the folder.
TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "avif": "image/avif"}
HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Content-Security-Policy": STORED_FILE_POLICY,
    "Cross-Origin-Resource-Policy": "cross-origin",  # shops show them
}


@require_safe
def media(request: HttpRequest, key: str) -> HttpResponseBase:
    """An output, as the picture that its name says and as nothing else."""
    content_type = TYPES.get(key.rpartition(".")[2])
    if settings.AWS_STORAGE_BUCKET_NAME or content_type is None:
        raise Http404
    response = serve(request, key, document_root=str(settings.MEDIA_ROOT))
    for name, value in HEADERS.items():
        response.headers[name] = value
    if "Content-Type" in response.headers:  # 304 has none
        response.headers["Content-Type"] = content_type
    return response
