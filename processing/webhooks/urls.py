"""URLs of the pages and the API."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from processing.webhooks import api, pages

urlpatterns = [
    path("webhooks/", pages.webhooks, name="webhooks"),
    path("webhooks/<uuid:pk>/", pages.webhook, name="webhook"),
    path("webhooks/<uuid:pk>/deliveries/", pages.webhook_deliveries, name="webhook-deliveries"),
    path("webhooks/<uuid:pk>/test/", pages.test, name="webhook-test"),
    path("webhooks/<uuid:pk>/rotate/", pages.rotate, name="webhook-rotate"),
    path("webhooks/<uuid:pk>/enable/", pages.enable, name="webhook-enable"),
    path("webhooks/<uuid:pk>/disable/", pages.disable, name="webhook-disable"),
    path("webhooks/<uuid:pk>/replay/", pages.replay, name="webhook-replay"),
    path("webhooks/<uuid:pk>/delete/", pages.delete, name="webhook-delete"),
    path("requests/<uuid:pk>/deliveries/", pages.request_deliveries, name="request-deliveries"),
    path("deliveries/<uuid:pk>/", pages.delivery, name="delivery"),
    path("deliveries/<uuid:pk>/redeliver/", pages.redeliver, name="delivery-redeliver"),
]

router = SimpleRouter()
router.register("webhooks", api.EndpointViewSet, basename="webhook")
router.register("deliveries", api.DeliveryViewSet, basename="delivery")

#: Below `/api/`.
api_urls = [path("webhook", api.inbound_webhook, name="inbound-webhook"), *router.urls]
