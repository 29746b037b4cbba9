"""The rows of a catalogue, and which pictures each shows."""

import uuid
from collections.abc import Collection
from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import Exists, OuterRef, Prefetch, Q
from django.db.models.functions import Left
from django.db.models.lookups import Exact

from products.models import bulk
from products.models.chunk import Chunk, image_id, product_id
from products.models.request import Request
from products.models.states import ImageStatus, RequestStatus

if TYPE_CHECKING:
    from products.models.image import Image


#: Characters of a serial number that are in the index by which it is found.
INDEXED_SERIAL = 100


class ProductQuerySet(models.QuerySet["Product"]):
    def with_images(self) -> Self:
        return self.prefetch_related(Prefetch("places", ProductImage.objects.select_related("image")))

    def in_status(self, status: str) -> Self:
        """Those of which `status_of` would say so, found by the database."""
        places = ProductImage.objects.filter(product=OuterRef("pk"), image__request=OuterRef("request"))
        pending, completed, failed, canceled = (
            Exists(places.filter(image__status=one))
            for one in (
                ImageStatus.PENDING,
                ImageStatus.COMPLETED,
                ImageStatus.FAILED,
                ImageStatus.CANCELED,
            )
        )
        return {
            RequestStatus.PENDING: self.filter(pending),
            RequestStatus.PROCESSING: self.none(),
            RequestStatus.COMPLETED: self.exclude(pending | failed | canceled),
            RequestStatus.COMPLETED_WITH_ERRORS: self.filter(completed, failed | canceled).exclude(pending),
            RequestStatus.FAILED: self.filter(failed).exclude(pending | completed),
            RequestStatus.CANCELED: self.filter(canceled).exclude(pending | completed | failed),
        }[RequestStatus(status)]

    def found_by(self, batch: Request, words: str) -> Self:
        """Those of `batch` whose serial number or name contains these words, or that show this very URL."""
        if "://" in words:  # the URL's id is known, so that no text has to be searched
            shown = ProductImage.objects.filter(
                product=OuterRef("pk"), image=uuid.UUID(image_id(batch.pk, words))
            )
            return self.filter(Exists(shown))
        return self.filter(Q(serial_number__icontains=words) | Q(product_name__icontains=words))

    def with_failure(self, code: str, host: str) -> Self:
        """Those that show an Image which failed with `code`, at `host` if that is given."""
        failed = ProductImage.objects.filter(image__status=ImageStatus.FAILED, image__error_code=code)
        failed = failed.filter(image__host=host) if host else failed
        return self.filter(Exists(failed.filter(product=OuterRef("pk"), image__request=OuterRef("request"))))

    def insert(self, batch: Request, chunk: Chunk) -> None:
        names = ("id", "row_number", "serial_number", "product_name", "cells")
        bulk.insert(Product(request=batch), names, chunk.products)

    def first_rows(self, count: int) -> "ProductQuerySet":
        """At most `count` of them, as a queryset that can be written to."""
        return Product.objects.filter(pk__in=list(self.order_by().values_list("pk", flat=True)[:count]))

    def discard(self) -> int:
        """Delete the rows, which show no Images any more; delete() would load them all to make sure."""
        return self._raw_delete(self.db) or 0  # None where nothing can match


class Product(models.Model):
    """One row of the catalogue. Its id follows from the Request's id and the row number."""

    id = models.UUIDField(primary_key=True, editable=False)
    request = models.ForeignKey(Request, models.CASCADE, related_name="products", db_index=False)
    row_number = models.PositiveIntegerField()
    serial_number = models.TextField(blank=True)
    product_name = models.TextField(blank=True)
    cells = models.JSONField(help_text="The row's cells as they were.")
    images: "models.ManyToManyField[Image, ProductImage]" = models.ManyToManyField(
        "Image", through="ProductImage", related_name="products"
    )

    objects = ProductQuerySet.as_manager()

    class Meta:
        ordering = ["request_id", "row_number"]
        constraints = [
            models.UniqueConstraint(fields=["request", "row_number"], name="product_row"),
        ]
        indexes = [
            # has_serial()
            models.Index(Left("serial_number", INDEXED_SERIAL), name="product_serial"),
        ]

    def __str__(self) -> str:
        return f"{self.row_number}: {self.product_name or self.serial_number}"

    @staticmethod
    def id_for(request_id: uuid.UUID, row_number: int) -> uuid.UUID:
        return uuid.UUID(product_id(request_id, row_number))

    @staticmethod
    def has_serial(serial: str) -> Q:
        """The condition that the serial number is exactly this one, found by its beginning."""
        beginning = Exact(Left("serial_number", INDEXED_SERIAL), serial[:INDEXED_SERIAL])
        return Q(beginning, serial_number=serial)

    @staticmethod
    def status_of(images: Collection[str]) -> str:
        """A Product's status from those of its Images, in the words of a Request's."""
        if ImageStatus.PENDING in images:
            return RequestStatus.PENDING
        if all(status == ImageStatus.COMPLETED for status in images):
            return RequestStatus.COMPLETED
        if ImageStatus.COMPLETED in images:
            return RequestStatus.COMPLETED_WITH_ERRORS
        return RequestStatus.FAILED if ImageStatus.FAILED in images else RequestStatus.CANCELED

    @property
    def images_in_order(self) -> list["Image"]:
        """As in the row, repeated where the row repeats them; fetched by with_images()."""
        return [place.image for place in self.places.all()]

    @property
    def status(self) -> str:
        return self.status_of([image.status for image in self.images_in_order])


class ProductImage(models.Model):
    """The place of an Image in a Product."""

    product = models.ForeignKey(Product, models.CASCADE, related_name="places", db_index=False)
    image = models.ForeignKey("Image", models.CASCADE, related_name="places")
    position = models.PositiveIntegerField(help_text="From 0, over all picture columns of the row.")

    class Meta:
        ordering = ["product_id", "position"]
        constraints = [
            models.UniqueConstraint(fields=["product", "position"], name="product_image_position"),
        ]

    def __str__(self) -> str:
        return f"{self.product_id} [{self.position}]"
