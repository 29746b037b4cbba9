"""The parts of the OpenAPI schema that all calls share: authentication and errors."""

from typing import Any, Literal, cast

from django.conf import settings
from drf_spectacular import openapi
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import serializers
from rest_framework.pagination import CursorPagination

#: The groups of calls in the reference, in order, with the parts of paths that belong to them. Of a path, the
#: last part that is listed here decides.
TAGS: dict[str, tuple[str, ...]] = {
    "Requests": ("requests",),
    "Results": ("products", "images", "images.zip", "results.csv", "results.xlsx", "failures", "share"),
    "Repair": ("retry", "replace", "corrections", "repeat"),
    "Profiles": ("profiles",),
    "Feeds": ("feeds",),
    "Webhooks": ("webhooks", "deliveries"),
    "Earlier system": ("upload", "status", "webhook"),
}
#: Summaries of actions without a docstring, with the name of the model.
SUMMARIES = {
    "list": "List {0}s",
    "create": "Add a {0}",
    "retrieve": "Show a {0}",
    "update": "Replace a {0}",
    "partial_update": "Change a {0}",
    "destroy": "Delete a {0}",
}


class ErrorSerializer(serializers.Serializer[Any]):
    """A single error."""

    code = serializers.CharField()
    detail = serializers.CharField()
    attr = serializers.CharField(
        allow_null=True, help_text="The field or parameter with the error; null if it is none of them."
    )
    line = serializers.IntegerField(required=False, help_text="Line in the catalogue, from 1.")
    column = serializers.IntegerField(required=False, help_text="Cell in that line, from 1.")


class ErrorsSerializer(serializers.Serializer[Any]):
    """Every error response."""

    type = serializers.CharField(help_text="validation_error, client_error or server_error")
    errors = ErrorSerializer(many=True)  # type: ignore[assignment]  # the contract's name, also DRF's


class AutoSchema(openapi.AutoSchema):
    """Group and summarise calls, and declare the errors common to calls of a kind.

    A view declares further errors with its responses.
    """

    def get_tags(self) -> list[str]:
        """Return the group of the call."""
        tags = {part: tag for tag, parts in TAGS.items() for part in parts}
        return [next(tags[part] for part in reversed(self.path.split("/")) if part in tags)]

    def get_summary(self) -> str:
        """Return the first sentence of the method's docstring, else a summary by the name of the action."""
        action = getattr(self.view, "action", "")
        method = getattr(self.view, action or self.method.lower(), None)
        text = " ".join((getattr(method, "__doc__", None) or "").split())
        if not text and action in SUMMARIES:
            noun = cast(Any, self.view).queryset.model._meta.verbose_name
            return SUMMARIES[action].format(noun)
        text = text or " ".join(self.get_description().split())
        return text.partition(". ")[0].rstrip(".")

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        errors = {
            code: self._get_response_for_code(ErrorsSerializer, code, ["application/json"])
            for code in self._error_codes()
        }
        return {**errors, **bodies}

    def _error_codes(self) -> list[str]:
        codes = ["400"]
        if self.view.permission_classes and any(self.get_auth()):
            codes += ["401", "403"]
        has_id = any(parameter["in"] == "path" for parameter in self._get_parameters())
        if has_id or isinstance(self._get_paginator(), CursorPagination):
            codes.append("404")
        codes.append("406")
        if self.method in {"POST", "PUT", "PATCH"} and self.get_request_serializer():
            codes.append("415")
        return codes


class TokenScheme(OpenApiAuthenticationExtension):
    """Describe token authentication."""

    target_class = "products.accounts.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Token ie_…"}


class SessionScheme(OpenApiAuthenticationExtension):
    """Describe the session cookie."""

    target_class = "products.accounts.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
