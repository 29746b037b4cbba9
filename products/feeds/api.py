"""The API of feeds, and the download of their latest result."""

import hashlib
from collections.abc import Iterator
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.views.decorators.http import require_safe
from django_filters.filterset import FilterSet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request as ApiRequest
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from products.api.errors import Conflict
from products.api.schema import ErrorsSerializer
from products.api.views import FilteredViewSet, Pagination
from products.feeds import runs
from products.feeds.latest import ResultChanged, latest_result, version_of
from products.feeds.models import TOO_MANY_FEEDS, Feed
from products.feeds.serializers import FeedSerializer, FeedSettingsSerializer
from products.results import download, download_name


class FeedPagination(Pagination):
    ordering = ("-created_at", "-id")


class FeedFilters(FilterSet):
    """No filters."""


@extend_schema_view(
    create=extend_schema(responses={201: FeedSerializer}),
    update=extend_schema(responses=FeedSerializer),
    partial_update=extend_schema(responses=FeedSerializer),
)
class FeedViewSet(FilteredViewSet[Feed], viewsets.ModelViewSet[Feed]):
    """URLs from which catalogues are fetched, now or on a schedule."""

    queryset = Feed.objects.all()
    serializer_class = FeedSerializer
    filterset_class = FeedFilters
    pagination_class = FeedPagination

    def get_queryset(self) -> QuerySet[Feed]:
        return Feed.objects.visible_to(self.request.user).with_last_run()

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        is_written = self.action in {"create", "update", "partial_update"}
        return FeedSettingsSerializer if is_written else FeedSerializer

    def perform_create(self, serializer: BaseSerializer[Feed]) -> None:
        if Feed.objects.has_reached_limit(self.request.user):
            raise ValidationError(TOO_MANY_FEEDS, "too_many_feeds")
        serializer.save(owner=cast(User, self.request.user))

    @extend_schema(request=None, responses={202: FeedSerializer, 409: ErrorsSerializer})
    @action(detail=True, methods=["post"])
    def run(self, request: ApiRequest, pk: str) -> Response:
        """Fetch the catalogue and run it now."""
        feed = self.get_object()
        if not runs.start(feed):
            raise Conflict("A run of this feed is under way. Wait until it has finished.", "active")
        return self._current(status.HTTP_202_ACCEPTED)

    @extend_schema(request=None, responses=FeedSerializer)
    @action(detail=True, methods=["post"])
    def rotate(self, request: ApiRequest, pk: str) -> Response:
        """Create a new secret in `latest_url`. The old URL is not found from then on."""
        self.get_object().rotate_secret()
        return self._current()

    @extend_schema(request=None, responses={200: FeedSerializer, 409: ErrorsSerializer})
    @action(detail=True, methods=["post"])
    def confirm(self, request: ApiRequest, pk: str) -> Response:
        """Let a held run go on: its result becomes the latest one."""
        if not runs.confirm(self.get_object()):
            raise Conflict("The last run of this feed is not held.", "not_held")
        return self._current()

    def _current(self, code: int = status.HTTP_200_OK) -> Response:
        """Return the feed as it is now."""
        feed = self.get_queryset().get(pk=self.kwargs["pk"])
        return Response(self.get_serializer(feed).data, code)


@require_safe
def latest_csv(request: HttpRequest, pk: Any, secret: str) -> HttpResponseBase:
    """Download the result of the latest good run, for shops that pull it. The secret is all it takes."""
    feed = Feed.objects.filter(pk=pk).first()
    if feed is None or not feed.has_secret(secret):
        raise Http404
    style = request.GET.get("style")
    batch = feed.latest
    if batch is None or style not in {None, "replace"}:
        raise Http404
    etag = quote_etag(
        hashlib.sha256(f"{version_of(batch)} {style} {settings.PUBLIC_URL}".encode()).hexdigest()[:32]
    )
    response: HttpResponseBase | None = get_conditional_response(request, etag=etag)
    if response is None:
        pieces = _breaking_off(latest_result(batch, replace=style == "replace"))
        response = download(pieces, download_name(batch, "replaced" if style else "result"), "text/csv")
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-cache"
    response["X-Robots-Tag"] = "noindex, nofollow"
    return response


def _breaking_off(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a result. Break the connection if it was changed, so that the client has no whole file."""
    try:
        yield from pieces
    except ResultChanged as error:
        raise ConnectionAbortedError(str(error)) from error
