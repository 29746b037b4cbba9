"""The endpoints for monitoring: /healthz, /readyz and /metrics."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request as ApiRequest
from rest_framework.views import APIView

from processing.monitoring import health, metrics
from products.accounts.models import ApiToken


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200 as long as the process answers at all."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if database, broker and storage work and no work waits without a worker, else 503."""
    if problems := health.problems():
        return JsonResponse({"status": "unavailable", **problems}, status=503)
    return JsonResponse({"status": "ok"})


class MayReadMetrics(BasePermission):
    """Admits staff and API tokens of any user, so that a scraper's user needs no other rights."""

    def has_permission(self, request: ApiRequest, view: APIView) -> bool:
        return request.user.is_staff or isinstance(request.auth, ApiToken)


@extend_schema(exclude=True)
class MetricsView(APIView):
    """Prometheus's text format. The numbers are sums over all users and name none of them."""

    permission_classes = [MayReadMetrics]

    def perform_content_negotiation(
        self, request: ApiRequest, force: bool = False
    ) -> tuple[BaseRenderer, str]:
        """Ignore the `Accept` header: metrics are text, errors are JSON."""
        return super().perform_content_negotiation(request, force=True)

    def get(self, request: ApiRequest) -> HttpResponse:
        return HttpResponse(metrics.text(), content_type=metrics.CONTENT_TYPE)
