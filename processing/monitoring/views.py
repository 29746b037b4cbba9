"""What monitoring asks."""

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
    """200 while the process answers at all."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when database, broker and storage answer and nothing waits in vain for a worker; else 503."""
    if problems := health.problems():
        return JsonResponse({"status": "unavailable", **problems}, status=503)
    return JsonResponse({"status": "ok"})


class SeesMetrics(BasePermission):
    """Staff, and whoever has an API token: a scraper's user needs no right but to have one."""

    def has_permission(self, request: ApiRequest, view: APIView) -> bool:
        return request.user.is_staff or isinstance(request.auth, ApiToken)


@extend_schema(exclude=True)
class MetricsView(APIView):
    """Prometheus's text. It adds up everybody's work and names nobody's."""

    permission_classes = [SeesMetrics]

    def perform_content_negotiation(
        self, request: ApiRequest, force: bool = False
    ) -> tuple[BaseRenderer, str]:
        """It is text, whatever `Accept` asks for; its errors are JSON."""
        return super().perform_content_negotiation(request, force=True)

    def get(self, request: ApiRequest) -> HttpResponse:
        return HttpResponse(metrics.text(), content_type=metrics.CONTENT_TYPE)
