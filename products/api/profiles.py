"""The API of profiles."""

from typing import cast

from django.contrib.auth.models import User
from django_filters.filterset import FilterSet
from rest_framework import viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.serializers import BaseSerializer

from products.api.serializers import ProfileSerializer
from products.api.views import FilteredViewSet, Pagination
from products.models.profile import NAME_TAKEN, NameTaken, Profile, ProfileQuerySet


class NewestFirst(Pagination):
    ordering = ("-created_at", "-id")


class ProfileFilters(FilterSet):
    """No filters."""


class ProfileViewSet(FilteredViewSet[Profile], viewsets.ModelViewSet[Profile]):
    """Named sets of upload options. Everyone sees those that staff have published."""

    queryset = Profile.objects.all()
    serializer_class = ProfileSerializer
    filterset_class = ProfileFilters
    pagination_class = NewestFirst

    def get_queryset(self) -> ProfileQuerySet:
        return Profile.objects.visible_to(self.request.user)

    def perform_create(self, serializer: BaseSerializer[Profile]) -> None:
        self._save(serializer, owner=cast(User, self.request.user))

    def perform_update(self, serializer: BaseSerializer[Profile]) -> None:
        self._save(serializer)

    def _save(self, serializer: BaseSerializer[Profile], **fields: User) -> None:
        try:
            serializer.save(**fields)
        except NameTaken as error:  # at the same time
            raise ValidationError({"name": NAME_TAKEN}, "unique") from error
