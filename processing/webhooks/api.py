"""The JSON API: webhook endpoints, deliveries, and reports of external workers."""

import time
from collections.abc import Mapping
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import Http404
from django_filters.filterset import FilterSet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, status, viewsets
from rest_framework.decorators import (
    action,
    api_view,
    authentication_classes,
    parser_classes,
    permission_classes,
)
from rest_framework.exceptions import APIException, ParseError, UnsupportedMediaType, ValidationError
from rest_framework.request import Request as ApiRequest
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from processing.webhooks.events import redeliver, redeliver_all, send_test_event
from processing.webhooks.inbound import InvalidReport, apply_report
from processing.webhooks.models import (
    TOO_MANY_ENDPOINTS,
    DeliveryStatus,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEndpointQuerySet,
)
from processing.webhooks.serializers import (
    DeliverySerializer,
    EndpointSerializer,
    NewEndpointSerializer,
    ReplayedSerializer,
    ReplaySerializer,
    ReportSerializer,
    ReportTakenSerializer,
    SubmittedSerializer,
    TrialSerializer,
    TrialSubmissionSerializer,
    WebhookOptionsSerializer,
    WebhookProfileSerializer,
    WebhookSubmissionSerializer,
)
from processing.webhooks.signing import InvalidSignature, verify
from processing.work.host_warnings import literal_problem, sentence
from processing.work.trial import DEFAULT_PICTURES, make_trial
from products.api import profiles as profiles_api
from products.api import views as products_api
from products.api.errors import Conflict
from products.api.filters import status_filter
from products.api.parsers import JSONParser
from products.api.schema import ErrorsSerializer
from products.api.serializers import RequestSerializer
from products.api.views import FilteredViewSet, Pagination
from products.catalogue import Problem, Reading
from products.lifecycle import check_catalogue, choose_options
from products.lifecycle.quotas import count_upload


class EndpointDisabled(Conflict):
    """409: nothing is delivered to a disabled endpoint."""

    default_detail = "The endpoint is disabled. Enable it first."
    default_code = "endpoint_disabled"


class NewestFirst(Pagination):
    ordering = ("-created_at", "-id")


@extend_schema_view(create=extend_schema(responses={201: SubmittedSerializer, 200: SubmittedSerializer}))
class RequestViewSet(products_api.RequestViewSet):
    """Uploaded catalogues and their progress."""

    submission_serializer_class = WebhookSubmissionSerializer
    options_serializer_class = WebhookOptionsSerializer

    @extend_schema(
        request={"multipart/form-data": TrialSubmissionSerializer},
        responses={200: TrialSerializer, 429: ErrorsSerializer, 503: ErrorsSerializer, 507: ErrorsSerializer},
    )
    @action(detail=False, methods=["post"])
    def trial(self, request: ApiRequest) -> Response:
        """Fetch some pictures and make them as the options say, in up to 30 seconds. Nothing is submitted."""
        count_upload(request.user)  # it reads as much as an upload
        upload = TrialSubmissionSerializer(data=request.data)
        upload.is_valid(raise_exception=True)
        given = dict(upload.validated_data)
        file, wanted = given.pop("file"), given.pop("profile", None)
        sample = given.pop("sample", DEFAULT_PICTURES)
        owner = cast(User, request.user)
        _profile, options = choose_options(owner, file, given, wanted)
        reading = {name: options[name] for name in Reading.__annotations__ if name in options}
        check_catalogue(file, strict=bool(options.get("strict")), **reading)
        tried = make_trial(owner, file, options, sample)
        return Response(TrialSerializer(tried, context=self.get_serializer_context()).data)

    def host_warnings(self, hosts: Mapping[str, int]) -> list[Problem]:
        """Warn of private addresses. Names are not looked up: a preview answers at once."""
        return [
            Problem("blocked_address", sentence(problem, count))
            for host, count in hosts.items()
            if (problem := literal_problem(host))
        ]

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        """The response to an upload with a `webhook_url` has the secret of its endpoint."""
        is_upload = self.action == "create" and self.serializer_class is RequestSerializer
        return SubmittedSerializer if is_upload else super().get_serializer_class()


class ProfileViewSet(profiles_api.ProfileViewSet):
    """Named sets of upload options. Everyone sees those that staff have published."""

    serializer_class = WebhookProfileSerializer


class EndpointFilters(FilterSet):
    """No filters."""


class DeliveryFilters(FilterSet):
    status = status_filter(DeliveryStatus)


class EndpointViewSet(FilteredViewSet[WebhookEndpoint], viewsets.ModelViewSet[WebhookEndpoint]):
    """URLs that receive events when requests finish."""

    queryset = WebhookEndpoint.objects.all()
    serializer_class = EndpointSerializer
    filterset_class = EndpointFilters
    pagination_class = NewestFirst

    def get_queryset(self) -> WebhookEndpointQuerySet:
        visible = WebhookEndpoint.objects.visible_to(self.request.user)
        return visible.registered() if self.action == "list" else visible

    def permitted_rows(self) -> QuerySet[WebhookEndpoint]:
        """Only owners may rotate a secret, since the response has the new one."""
        if self.action == "rotate":
            return self.get_queryset().owned_by(self.request.user)
        if self.action == "replay":
            return self.get_queryset().replayable_by(self.request.user)
        return super().permitted_rows()

    @extend_schema(responses={201: NewEndpointSerializer})
    def create(self, request: ApiRequest, *args: Any, **kwargs: Any) -> Response:
        """Register an endpoint. The secret is only in this response."""
        return super().create(request, *args, **kwargs)

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return NewEndpointSerializer if self.action == "create" else super().get_serializer_class()

    def perform_create(self, serializer: BaseSerializer[WebhookEndpoint]) -> None:
        if WebhookEndpoint.objects.has_reached_limit(self.request.user):
            raise ValidationError(TOO_MANY_ENDPOINTS, "too_many_endpoints")
        serializer.save(owner=cast(User, self.request.user))

    @extend_schema(request=None, responses=NewEndpointSerializer)
    @action(detail=True, methods=["post"])
    def rotate(self, request: ApiRequest, pk: str) -> Response:
        """Create a new secret, which is only in this response. The old one also signs for 24 hours."""
        endpoint = self.get_object()
        endpoint.rotate_secret()
        return Response(NewEndpointSerializer(endpoint).data)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def test(self, request: ApiRequest, pk: str) -> Response:
        """Send a test event to the endpoint."""
        delivery = send_test_event(self.get_object())
        if delivery is None:
            raise EndpointDisabled
        return Response(DeliverySerializer(delivery).data, status.HTTP_202_ACCEPTED)

    @extend_schema(request=ReplaySerializer, responses={202: ReplayedSerializer})
    @action(detail=True, methods=["post"])
    def replay(self, request: ApiRequest, pk: str) -> Response:
        """Redeliver events that failed, or that were missed while the endpoint was disabled."""
        endpoint = self.get_object()
        if not endpoint.enabled:
            raise EndpointDisabled
        wanted = ReplaySerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        count = redeliver_all(endpoint.deliveries.with_status(**wanted.validated_data))
        return Response({"deliveries": count}, status.HTTP_202_ACCEPTED)

    @extend_schema(responses=DeliverySerializer(many=True))
    @action(detail=True, filterset_class=DeliveryFilters, serializer_class=DeliverySerializer)
    def deliveries(self, request: ApiRequest, pk: str) -> Response:
        """List the deliveries to the endpoint, newest first."""
        return self.list_response(self.get_object().deliveries.visible_to(request.user))


class DeliveryViewSet(mixins.RetrieveModelMixin, FilteredViewSet[WebhookDelivery]):
    """Deliveries of events, with every attempt."""

    queryset = WebhookDelivery.objects.all()
    serializer_class = DeliverySerializer

    def get_queryset(self) -> QuerySet[WebhookDelivery]:
        return WebhookDelivery.objects.visible_to(self.request.user)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def redeliver(self, request: ApiRequest, pk: str) -> Response:
        """Deliver the event again now, with the same id."""
        delivery = self.get_object()
        if not redeliver(delivery):
            raise EndpointDisabled
        return Response(self.get_serializer(delivery).data, status.HTTP_202_ACCEPTED)


# --- Reports of external workers ---


class NotSigned(APIException):
    """401 by the signature alone; logging in does not help."""

    status_code = status.HTTP_401_UNAUTHORIZED
    default_code = "invalid_signature"


@extend_schema(
    request=ReportSerializer,
    responses={200: ReportTakenSerializer, 401: ErrorsSerializer, 404: ErrorsSerializer},
    parameters=[
        OpenApiParameter(f"webhook-{name}", str, OpenApiParameter.HEADER, required=True)
        for name in ("id", "timestamp", "signature")
    ],
    auth=[],
)
@api_view(["POST"])
@authentication_classes([])
@permission_classes([])
@parser_classes([JSONParser])
def inbound_webhook(request: ApiRequest) -> Response:
    """Report the outcome of a product's pictures, signed with INBOUND_WEBHOOK_SECRET."""
    if not settings.INBOUND_WEBHOOK_SECRET:
        raise Http404
    try:
        headers = {name.lower(): value for name, value in request.headers.items()}
        message_id = verify(settings.INBOUND_WEBHOOK_SECRET, headers, request.body, now=time.time())
    except InvalidSignature as error:
        raise NotSigned(str(error)) from error
    try:
        report = ReportSerializer(data=request.data)
        report.is_valid(raise_exception=True)
        data = report.validated_data
        completed = data["status"] == "Completed"
        apply_report(
            message_id, data["request_id"], completed=completed, urls=data["output_image_urls"] or []
        )
    except (ParseError, UnsupportedMediaType, ValidationError, InvalidReport) as error:
        raise ValidationError("Invalid data", "invalid") from error
    return Response({"message": "Status updated successfully"})
