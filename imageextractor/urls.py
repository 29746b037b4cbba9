"""Every address of the service."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

from processing import api as processing_api
from processing import monitoring
from processing import views as processing_views
from processing.api import RequestViewSet
from processing.sources import source_thumbnail
from products import account, api, uploading, views
from products.media import image, media
from products.thumbnails import thumbnail

handler400 = "products.errors.bad_request"
handler403 = "products.errors.forbidden"
handler404 = "products.errors.not_found"

router = SimpleRouter()
router.register("requests", RequestViewSet, basename="request")
router.register("webhooks", processing_api.EndpointViewSet, basename="webhook")
router.register("deliveries", processing_api.DeliveryViewSet, basename="delivery")

api_urls = [
    path("upload", api.legacy_upload, name="upload"),
    path("status/<str:request_id>", api.legacy_status, name="status"),
    path("webhook", processing_api.inbound_webhook, name="inbound-webhook"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="api:schema"), name="docs"),
    # Files: no slash behind their names, which the router would put there.
    path(
        "requests/<str:pk>/results.csv",
        RequestViewSet.as_view({"get": "results_csv"}, detail=True),
        name="request-results-csv",
    ),
    path(
        "requests/<str:pk>/images.zip",
        RequestViewSet.as_view({"get": "images_zip"}, detail=True),
        name="request-images-zip",
    ),
    # An upload without the slash would be lost in the redirect.
    path("requests", RequestViewSet.as_view({"get": "list", "post": "create"}, schema=None)),
    *router.urls,
]

urlpatterns = [
    path("", uploading.home, name="home"),
    path("drafts/<uuid:pk>/", uploading.draft, name="draft"),
    path("requests/", views.requests, name="requests"),
    path("requests/<uuid:pk>/", views.request_page, name="request"),
    path("requests/<uuid:pk>/progress/", views.request_progress, name="request-progress"),
    path("requests/<uuid:pk>/products/", views.request_products, name="request-products"),
    path("requests/<uuid:pk>/failures/", views.request_failures, name="request-failures"),
    path("requests/<uuid:pk>/retry/", views.retry, name="request-retry"),
    path("requests/<uuid:pk>/cancel/", views.cancel, name="request-cancel"),
    path("requests/<uuid:pk>/delete/", views.delete, name="request-delete"),
    path("thumbnails/<uuid:pk>/", thumbnail, name="thumbnail"),
    path("sources/<uuid:pk>/", source_thumbnail, name="source-thumbnail"),
    path("webhooks/", processing_views.webhooks, name="webhooks"),
    path("webhooks/<uuid:pk>/", processing_views.webhook, name="webhook"),
    path("webhooks/<uuid:pk>/deliveries/", processing_views.webhook_deliveries, name="webhook-deliveries"),
    path("webhooks/<uuid:pk>/test/", processing_views.test, name="webhook-test"),
    path("webhooks/<uuid:pk>/rotate/", processing_views.rotate, name="webhook-rotate"),
    path("webhooks/<uuid:pk>/enable/", processing_views.enable, name="webhook-enable"),
    path("webhooks/<uuid:pk>/disable/", processing_views.disable, name="webhook-disable"),
    path("webhooks/<uuid:pk>/replay/", processing_views.replay, name="webhook-replay"),
    path("webhooks/<uuid:pk>/delete/", processing_views.remove, name="webhook-delete"),
    path("deliveries/<uuid:pk>/", processing_views.delivery, name="delivery"),
    path("deliveries/<uuid:pk>/redeliver/", processing_views.redeliver, name="delivery-redeliver"),
    path("account/", account.account, name="account"),
    path("account/tokens/", account.issue_token, name="token-issue"),
    path("account/tokens/<int:pk>/revoke/", account.revoke_token, name="token-revoke"),
    path("account/password/", account.PasswordView.as_view(), name="password"),
    path("login/", account.LoginView.as_view(), name="login"),
    path("logout/", auth.LogoutView.as_view(next_page="home"), name="logout"),
    path("upload", api.legacy_upload),
    path("status/<str:request_id>", api.legacy_status),
    path("api/", include((api_urls, "api"))),
    # One door, so that every attempt is counted.
    path("admin/login/", RedirectView.as_view(pattern_name="login", query_string=True)),
    path("admin/password_change/", RedirectView.as_view(pattern_name="password")),
    path("admin/", admin.site.urls),
    path("healthz", views.healthz),
    path("readyz", monitoring.readyz),
    path("metrics", monitoring.MetricsView.as_view()),
    path("images/<uuid:pk>", image, name="image"),
    re_path(r"^media/(?P<key>images/[0-9a-f]{2}/[0-9a-f]+\.[a-z]+)$", media),
]
