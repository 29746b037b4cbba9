"""Ids that follow from what they are of."""

import copy
import pickle
import uuid

import pytest

from products.models.ids import uuid5


@pytest.mark.parametrize("name", ["", "row 1", "https://shop.example/a.jpg", "Größe – 椅子", "x" * 3000])
@pytest.mark.parametrize("namespace", [uuid.NAMESPACE_URL, uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)])
def test_an_id_is_that_of_the_standard_library_in_every_respect(namespace: uuid.UUID, name: str) -> None:
    found, expected = uuid5(namespace, name), uuid.uuid5(namespace, name)
    assert found == expected
    assert (hash(found), str(found), found.bytes) == (hash(expected), str(expected), expected.bytes)
    assert (found.version, found.variant, found.is_safe) == (5, uuid.RFC_4122, expected.is_safe)
    assert copy.deepcopy(found) == pickle.loads(pickle.dumps(found)) == expected  # noqa: S301 (our own)
