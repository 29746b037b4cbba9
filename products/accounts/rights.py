"""Access to one row: 404 if the user may not see it, 403 if the user may see it but not act on it."""

from typing import TypeVar
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.shortcuts import get_object_or_404

from products.models import Request
from products.models.owned import is_granted

Row = TypeVar("Row", bound=Model)


def may(user: User | AnonymousUser, action: str, batch: Request) -> bool:
    """Return whether `user` may "change" or "delete" a Request that `user` sees. Costs an owner no query."""
    return batch.owner_id == user.pk or is_granted(user, Request, action)


def get_permitted(visible: QuerySet[Row], permitted: QuerySet[Row], pk: UUID) -> Row:
    """Return a row of `permitted`. Raises Http404 if it is not in `visible`, else PermissionDenied."""
    row = get_object_or_404(visible, pk=pk)
    if not permitted.contains(row):
        raise PermissionDenied
    return row
