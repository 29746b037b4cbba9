"""URLs of the service; each room lists its own."""

from django.contrib import admin
from django.contrib.contenttypes.views import shortcut
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import include, path
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from processing.monitoring import views as monitoring
from processing.webhooks import urls as webhooks
from processing.webhooks.api import ProfileViewSet, RequestViewSet
from processing.work.host_warnings import host_warnings
from processing.work.source_thumbnail import source_picture, source_thumbnail
from processing.work.trial import make_trial, trial_picture
from products.api import docs
from products.api.urls import request_urls
from products.feeds import urls as feeds
from products.pages.upload import draft

handler400 = "products.pages.errors.bad_request"
handler403 = "products.pages.errors.forbidden"
handler404 = "products.pages.errors.not_found"


def view_on_site(request: HttpRequest, content_type_id: str, object_id: str) -> HttpResponse:
    """Redirect to the page of a row. Django's own view fails if the id is not one of the model's type."""
    try:
        return shortcut(request, content_type_id, object_id)
    except ValidationError as error:
        raise Http404 from error


@require_safe
@cache_control(public=True, max_age=86_400)
def favicon(request: HttpRequest) -> HttpResponse:
    """Redirect to the icon. Browsers ask for this one where a page names none, as in the admin."""
    return redirect(static("products/icon.svg"))


api_urls = [
    *request_urls(RequestViewSet, ProfileViewSet),
    *webhooks.api_urls,
    *feeds.api_urls,
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", docs.index, name="docs"),
    path("docs/<slug:slug>/", docs.group, name="docs-group"),
]

urlpatterns = [
    path("", include("products.pages.urls")),
    path("", include("products.accounts.urls")),
    path("", include("products.feeds.urls")),
    path("", include("processing.webhooks.urls")),
    path("drafts/hosts/", host_warnings, name="host-warnings"),
    path("drafts/<uuid:pk>/", draft, {"make_trial": make_trial}, name="draft"),
    path("trials/<uuid:pk>/<int:number>/<slug:side>.<slug:kind>", trial_picture, name="trial-picture"),
    path("sources/<uuid:pk>/", source_thumbnail, name="source-thumbnail"),
    path("sources/<uuid:pk>/whole/", source_picture, name="source-picture"),
    path("", include("products.api.legacy")),
    path("api/", include((api_urls, "api"))),
    # All logins go through one form, which counts every attempt.
    path("admin/login/", RedirectView.as_view(pattern_name="login", query_string=True)),
    path("admin/password_change/", RedirectView.as_view(pattern_name="password")),
    path("admin/r/<path:content_type_id>/<path:object_id>/", admin.site.admin_view(view_on_site)),
    path("admin/", admin.site.urls),
    path("favicon.ico", favicon),
    path("healthz", monitoring.healthz),
    path("readyz", monitoring.readyz),
    path("metrics", monitoring.MetricsView.as_view()),
]
