"""Rows that the database refuses."""

import pytest
from django.db import IntegrityError, transaction

from products.models import Request
from tests.support.batches import WORKER, working

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "changes",
    [{"claimed_by": WORKER, "status": "failed"}, {"status": "completed"}, {"number": 1}],
)
def test_the_database_refuses_contradictory_images(changes: dict[str, object]) -> None:
    batch = working(2)
    with pytest.raises(IntegrityError), transaction.atomic():
        batch.images.filter(number=2).update(**changes)


def test_the_database_refuses_more_outcomes_than_images() -> None:
    batch = working(2)
    with pytest.raises(IntegrityError), transaction.atomic():
        Request.objects.filter(pk=batch.pk).update(images_completed=2, images_failed=1)
