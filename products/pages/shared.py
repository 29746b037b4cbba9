"""Shared requests: a read-only page with downloads for whoever has its address, without a login."""

from collections.abc import Callable
from functools import wraps
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_POST, require_safe

from products.accounts.authentication import HtmxRequest, UserRequest
from products.models import Request
from products.pages.pictures import thumbnail_of
from products.pages.polling import notice
from products.pages.products import products_context
from products.pages.requests import changeable
from products.pages.tabs import progress_context
from products.results import download, download_name
from products.results.result_csv import result_csv
from products.results.zip_archive import images_zip

View = Callable[..., HttpResponseBase]


def _shared(view: View) -> View:
    """Call `view` with the Request of a share address; 404 unless it is shared under that key.

    A poll of a page that was open when sharing stopped is answered with a notice.
    """

    @require_safe
    @wraps(view)
    def show(request: HtmxRequest, pk: UUID, key: str, **more: UUID) -> HttpResponseBase:
        batch = Request.objects.present().exclude(share_key="").filter(pk=pk).first()
        if not batch or not constant_time_compare(batch.share_key, key):
            if request.htmx:
                return notice(request, "No longer shared", "The link to this request does not work any more.")
            raise Http404
        response = view(request, batch, **more)
        response.headers["X-Robots-Tag"] = "noindex"
        return response

    return show


@_shared
def shared(request: HttpRequest, batch: Request) -> HttpResponse:
    """Progress, downloads and a page of products."""
    # Searches of a large catalogue are for users.
    rows = {name: request.GET[name] for name in ("after", "before") if name in request.GET}
    context = {**progress_context(batch), **products_context(rows, batch), "is_shared": True}
    return render(request, "pages/shared.html", context)


@_shared
def shared_thumbnail(request: HttpRequest, batch: Request, image: UUID) -> HttpResponseBase:
    """The output of one picture as a small WebP."""
    return thumbnail_of(get_object_or_404(batch.images.exclude(output_key=""), pk=image))


@_shared
def shared_csv(request: HttpRequest, batch: Request) -> HttpResponseBase:
    """The result."""
    return download(result_csv(batch), download_name(batch, "result"), "text/csv")


@_shared
def shared_zip(request: HttpRequest, batch: Request) -> HttpResponseBase:
    """All output pictures."""
    if not batch.images_completed:
        raise Http404
    return download(images_zip(batch), download_name(batch, "pictures", suffix=".zip"), "application/zip")


@require_POST
@login_required
def share(request: UserRequest, pk: UUID) -> HttpResponse:
    """Share a Request, or stop sharing it."""
    batch = changeable(request, pk)
    if "stop" in request.POST:
        batch.unshare()
        messages.success(request, "The share link no longer works.")
    else:
        batch.share()
        messages.success(request, "Whoever has the share link can see this request.")
    return redirect(batch)
