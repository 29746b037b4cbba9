"""URLs of the pages and the API."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from products.feeds import api, changes, pages

urlpatterns = [
    path("feeds/", pages.feeds, name="feeds"),
    path("feeds/<uuid:pk>/", pages.feed, name="feed"),
    path("feeds/<uuid:pk>/changes/", changes.changes, name="feed-changes"),
    path("feeds/<uuid:pk>/run/", pages.run, name="feed-run"),
    path("feeds/<uuid:pk>/confirm/", pages.confirm, name="feed-confirm"),
    path("feeds/<uuid:pk>/pause/", pages.pause, name="feed-pause"),
    path("feeds/<uuid:pk>/resume/", pages.resume, name="feed-resume"),
    path("feeds/<uuid:pk>/rotate/", pages.rotate, name="feed-rotate"),
    path("feeds/<uuid:pk>/delete/", pages.delete, name="feed-delete"),
    path("feeds/<uuid:pk>/<str:secret>/latest.csv", api.latest_csv, name="feed-latest"),
]

router = SimpleRouter()
router.register("feeds", api.FeedViewSet, basename="feed")

#: Below `/api/`.
api_urls = router.urls
