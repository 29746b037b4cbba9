"""Queries for the rows that a user may see, change or delete, and changes of one row."""

from collections.abc import Iterable
from typing import Any, Self, TypeVar

from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ObjectDoesNotExist
from django.db import models

Row = TypeVar("Row", bound=models.Model)


def is_granted(user: User | AnonymousUser, model: type[models.Model], action: str) -> bool:
    """Return whether `user` is staff with Django's permission for `action` on all rows of `model`.

    Superusers have every permission. Those of users who are not staff have no effect, as in the admin.
    """
    if not (user.is_staff or user.is_superuser):
        return False
    return user.has_perm(f"{model._meta.app_label}.{get_permission_codename(action, model._meta)}")


class OwnedQuerySet(models.QuerySet[Row]):
    """Rows with an owner, who may do everything. Staff see all and change what permissions grant."""

    owner_lookup = "owner"

    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Rows that `user` may see: staff all, other users their own."""
        return self.all() if user.is_staff or user.is_superuser else self.owned_by(user)

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

    def _permitted(self, user: User | AnonymousUser, action: str) -> Self:
        return self.all() if is_granted(user, self.model, action) else self.owned_by(user)


def save_fields(row: models.Model, names: Iterable[str]) -> None:
    """Save these fields of a row alone. Raises ObjectDoesNotExist if the row has been deleted.

    `save(update_fields=…)` would raise an error of the database instead.
    """
    changed = {name: getattr(row, name) for name in names}
    rows = type(row)._default_manager.filter(pk=row.pk)
    if not (rows.update(**changed) if changed else rows.exists()):
        raise ObjectDoesNotExist(f"{row._meta.label} {row.pk} has been deleted")
