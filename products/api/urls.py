"""URLs of the API of requests."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from products.api import legacy
from products.api.profiles import ProfileViewSet
from products.api.views import RequestViewSet


def request_urls(
    viewset: type[RequestViewSet], profiles: type[ProfileViewSet]
) -> list[URLPattern | URLResolver]:
    """Return the URLs of requests and profiles, served by these, and those of the earlier system."""
    router = SimpleRouter()
    router.register("requests", viewset, basename="request")
    router.register("profiles", profiles, basename="profile")
    return [
        *legacy.named_urls,
        # The router would add a slash after the file names.
        path(
            "requests/<str:pk>/results.csv",
            viewset.as_view({"get": "results_csv"}, detail=True),
            name="request-results-csv",
        ),
        path(
            "requests/<str:pk>/results.xlsx",
            viewset.as_view({"get": "results_xlsx"}, detail=True),
            name="request-results-xlsx",
        ),
        path(
            "requests/<str:pk>/images.zip",
            viewset.as_view({"get": "images_zip"}, detail=True),
            name="request-images-zip",
        ),
        # Django's redirect to the URL with a slash would lose the uploaded body.
        path("requests", viewset.as_view({"get": "list", "post": "create"}, schema=None)),
        *router.urls,
    ]
