"""Ids that are derived from what they identify."""

import uuid

import pytest

from products.models import Image, Product
from products.models.ids import uuid5_digits


@pytest.mark.parametrize("name", ["", "row 1", "https://shop.example/a.jpg", "Größe – 椅子", "x" * 3000])
@pytest.mark.parametrize("namespace", [uuid.NAMESPACE_URL, uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)])
def test_an_id_is_that_of_the_standard_library(namespace: uuid.UUID, name: str) -> None:
    assert uuid5_digits(namespace, name) == uuid.uuid5(namespace, name).hex


@pytest.mark.parametrize("url", ["http://shop.example/1.jpg", "http://shop.example/22.jpg", "", "ü😀"])
def test_images_and_products_have_ids_of_version_5(url: str) -> None:
    for _ in range(20):
        pk = uuid.uuid4()
        assert Image.id_for(pk, url) == uuid.uuid5(pk, url)
        assert Product.id_for(pk, len(url)) == uuid.uuid5(pk, f"row {len(url)}")
