"""The sample catalogue and its pictures, for download."""

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from products.sample import FILENAME, SAMPLE_PICTURES, sample_catalogue, sample_picture


@require_safe
def catalogue(request: HttpRequest) -> HttpResponse:
    """Answer with the sample as a file."""
    headers = {"Content-Disposition": f'attachment; filename="{FILENAME}"'}
    return HttpResponse(sample_catalogue(), content_type="text/csv", headers=headers)


@require_safe
@cache_control(public=True, max_age=3600)
def picture(request: HttpRequest, number: int) -> HttpResponse:
    """Answer with a picture of the sample, to anyone."""
    if not 1 <= number <= SAMPLE_PICTURES:
        raise Http404
    return HttpResponse(sample_picture(number), content_type="image/jpeg")
