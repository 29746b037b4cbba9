"""The API call by which a request is shared with people who have no account."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as ApiRequest
from rest_framework.response import Response

from products.models import Request


class ShareSerializer(serializers.Serializer[Request]):
    """The address of a shared request."""

    url = serializers.URLField(
        source="share_url", help_text="Shows progress, products and downloads to whoever has it."
    )


class ShareMixin:
    """Adds `share` to the view set of requests."""

    get_object: Any

    @extend_schema(request=None, responses=ShareSerializer)
    @action(detail=True, methods=["post"])
    def share(self, request: ApiRequest, pk: str) -> Response:
        """Share the request read-only. Returns the same address until sharing ends."""
        batch: Request = self.get_object()
        batch.share()
        return Response(ShareSerializer(batch).data)

    @extend_schema(responses={204: None})
    @share.mapping.delete
    def unshare(self, request: ApiRequest, pk: str) -> Response:
        """End sharing: the address stops working."""
        batch: Request = self.get_object()
        batch.unshare()
        return Response(status=status.HTTP_204_NO_CONTENT)
