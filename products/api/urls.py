"""API endpoints of requests."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from products.api import legacy
from products.api.views import RequestViewSet


def request_urls(viewset: type[RequestViewSet]) -> list[URLPattern | URLResolver]:
    """Return the endpoints of requests, served by `viewset`, and the two of the earlier system."""
    router = SimpleRouter()
    router.register("requests", viewset, basename="request")
    return [
        *legacy.named_urls,
        # Files: the router would put a slash behind their names.
        path(
            "requests/<str:pk>/results.csv",
            viewset.as_view({"get": "results_csv"}, detail=True),
            name="request-results-csv",
        ),
        path(
            "requests/<str:pk>/images.zip",
            viewset.as_view({"get": "images_zip"}, detail=True),
            name="request-images-zip",
        ),
        # A redirect to the URL with a slash would lose the uploaded body.
        path("requests", viewset.as_view({"get": "list", "post": "create"}, schema=None)),
        *router.urls,
    ]
