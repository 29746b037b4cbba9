"""Queries for the rows that a user may see, change or delete."""

from typing import Any, Self, TypeVar

from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import AnonymousUser, User
from django.db import models

Row = TypeVar("Row", bound=models.Model)


def is_granted(user: User | AnonymousUser, model: type[models.Model], *actions: str) -> bool:
    """Return whether `user` is staff with Django's permission for one of `actions` on all rows of `model`.

    Superusers have every permission. Those of users who are not staff have no effect, as in the admin.
    """
    if not (user.is_staff or user.is_superuser):
        return False
    names = (get_permission_codename(action, model._meta) for action in actions)
    return any(user.has_perm(f"{model._meta.app_label}.{name}") for name in names)


class OwnedQuerySet(models.QuerySet[Row]):
    """Rows with an owner. Owners may do everything with their own, staff what permissions grant them."""

    owner_lookup = "owner"

    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Rows that `user` may see. As in the admin, the permission to change includes the one to view."""
        return self._permitted(user, "view", "change")

    def changeable_by(self, user: User | AnonymousUser) -> Self:
        """Rows that `user` may change, among those that `user` may see."""
        return self._permitted(user, "change")

    def deletable_by(self, user: User | AnonymousUser) -> Self:
        """Rows that `user` may delete, among those that `user` may see."""
        return self._permitted(user, "delete")

    def owned_by(self, user: User | AnonymousUser) -> Self:
        """Rows that belong to `user`, whatever permissions `user` has."""
        own: dict[str, Any] = {self.owner_lookup: user.pk}
        return self.filter(**own)

    def _permitted(self, user: User | AnonymousUser, *actions: str) -> Self:
        return self.all() if is_granted(user, self.model, *actions) else self.owned_by(user)
