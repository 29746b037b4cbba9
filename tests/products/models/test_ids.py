"""Ids that follow from what they are of."""

import uuid

import pytest

from products.models.ids import uuid5_digits


@pytest.mark.parametrize("name", ["", "row 1", "https://shop.example/a.jpg", "Größe – 椅子", "x" * 3000])
@pytest.mark.parametrize("namespace", [uuid.NAMESPACE_URL, uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)])
def test_an_id_is_that_of_the_standard_library(namespace: uuid.UUID, name: str) -> None:
    assert uuid5_digits(namespace, name) == uuid.uuid5(namespace, name).hex
