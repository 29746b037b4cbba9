"""URLs of the pages and the API."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from products.feeds import api

urlpatterns = [
    path("feeds/<uuid:pk>/<str:secret>/latest.csv", api.latest_csv, name="feed-latest"),
]

router = SimpleRouter()
router.register("feeds", api.FeedViewSet, basename="feed")

#: Below `/api/`.
api_urls = router.urls
