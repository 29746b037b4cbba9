"""Products: the rows of a catalogue, and the places of Images in them."""

import uuid
from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef, Prefetch, Q, Subquery, prefetch_related_objects
from django.db.models.functions import Left
from django.db.models.lookups import In
from django.urls import reverse

from products.models.ids import image_id, product_id
from products.models.image import Image
from products.models.request import Request
from products.models.states import ImageStatus, RequestStatus

#: Places of Images in the rows of one page. A row may have a hundred thousand; it is then shown alone.
MAX_PAGE_PLACES = 10_000
#: Characters of a serial number in its index.
INDEXED_SERIAL_CHARACTERS = 100


class ProductQuerySet(models.QuerySet["Product"]):
    def with_images(self) -> Self:
        """Load the Images of all rows at once. For rows of unknown width see `load_images`."""
        places = ProductImage.objects.select_related("image").prefetch_related("image__renditions")
        return self.prefetch_related(Prefetch("places", places))

    def with_last_positions(self) -> Self:
        """Add the position of each row's last Image as `last_position`, from an index; None without any."""
        places = ProductImage.objects.filter(product=OuterRef("pk")).order_by("-position")
        return self.annotate(last_position=Subquery(places.values("position")[:1]))

    def in_status(self, status: str) -> Self:
        """Products whose derived status (`Product.status_of`) is this one."""
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
        """Products of `batch` whose serial number or name contains `words`, or that show the URL `words`."""
        if "://" in words:  # an Image's id follows from its URL, so no text search is needed
            shown = ProductImage.objects.filter(
                product=OuterRef("pk"), image=uuid.UUID(image_id(batch.pk, words))
            )
            return self.filter(Exists(shown))
        return self.filter(Q(serial_number__icontains=words) | Q(product_name__icontains=words))

    def with_failure(self, code: str, host: str) -> Self:
        """Products that show an Image which failed with `code`, on `host` if given."""
        failed = ProductImage.objects.filter(image__status=ImageStatus.FAILED, image__error_code=code)
        failed = failed.filter(image__host=host) if host else failed
        return self.filter(Exists(failed.filter(product=OuterRef("pk"), image__request=OuterRef("request"))))

    def first_rows(self, count: int) -> "ProductQuerySet":
        """Return at most `count` rows as a queryset that, unlike a slice, can be updated and deleted."""
        return Product.objects.filter(pk__in=list(self.order_by().values_list("pk", flat=True)[:count]))


class Product(models.Model):
    """One row of the catalogue. Its id is derived from the Request's id and the row number."""

    id = models.UUIDField(primary_key=True, editable=False)
    request = models.ForeignKey(Request, models.CASCADE, related_name="products", db_index=False)
    row_number = models.PositiveIntegerField()
    serial_number = models.TextField(blank=True)
    product_name = models.TextField(blank=True)
    cells = models.JSONField(help_text="The row's cells, unchanged.")
    images: "models.ManyToManyField[Image, ProductImage]" = models.ManyToManyField(
        Image, through="ProductImage", related_name="products"
    )

    objects = ProductQuerySet.as_manager()

    class Meta:
        ordering = ["request_id", "row_number"]
        constraints = [
            models.UniqueConstraint(fields=["request", "row_number"], name="product_row"),
        ]
        indexes = [
            # has_serial()
            models.Index(Left("serial_number", INDEXED_SERIAL_CHARACTERS), name="product_serial"),
        ]

    def __str__(self) -> str:
        return f"{self.row_number}: {self.product_name or self.serial_number}"

    def get_absolute_url(self) -> str:
        return f"{reverse('request-products', args=[self.request_id])}?row={self.row_number}#products"

    @staticmethod
    def id_for(request_id: uuid.UUID, row_number: int) -> uuid.UUID:
        return uuid.UUID(product_id(request_id, row_number))

    @staticmethod
    def has_serial(*serials: str) -> Q:
        """Return the condition for exactly these serial numbers, for which the database uses its index."""
        beginning = In(
            Left("serial_number", INDEXED_SERIAL_CHARACTERS),
            list({serial[:INDEXED_SERIAL_CHARACTERS] for serial in serials}),
        )
        return Q(beginning, serial_number__in=serials)

    @staticmethod
    def status_of(images: Collection[str]) -> str:
        """Return the status of a Product whose Images have these statuses. Those left out do not count."""
        images = [status for status in images if status != ImageStatus.IGNORED]
        if ImageStatus.PENDING in images:
            return RequestStatus.PENDING
        if all(status == ImageStatus.COMPLETED for status in images):
            return RequestStatus.COMPLETED
        if ImageStatus.COMPLETED in images:
            return RequestStatus.COMPLETED_WITH_ERRORS
        return RequestStatus.FAILED if ImageStatus.FAILED in images else RequestStatus.CANCELED

    @property
    def images_in_order(self) -> list[Image]:
        """Images in the order of the row, with its repetitions. Load them with `with_images()`."""
        return [place.image for place in self.places.all()]

    @property
    def status(self) -> str:
        return self.status_of([image.status for image in self.images_in_order])


def leading_rows(products: Sequence[Product], max_places: int = MAX_PAGE_PLACES) -> int:
    """Return the number of leading products that have `max_places` places together, at least one.

    They come from `ProductQuerySet.with_last_positions`.
    """
    last: list[int | None] = [getattr(product, "last_position", None) for product in products]
    totals = accumulate(0 if position is None else position + 1 for position in last)
    return max(1, sum(total <= max_places for total in totals))


def load_images(products: Sequence[Product]) -> None:
    """Load the Images of these rows, as `ProductQuerySet.with_images` does."""
    places = ProductImage.objects.select_related("image").prefetch_related("image__renditions")
    prefetch_related_objects(products, Prefetch("places", places))


class ProductImage(models.Model):
    """The place of an Image in a Product."""

    product = models.ForeignKey(Product, models.CASCADE, related_name="places", db_index=False)
    image = models.ForeignKey(Image, models.CASCADE, related_name="places")
    position = models.PositiveIntegerField(help_text="From 0, over all picture columns of the row.")

    class Meta:
        ordering = ["product_id", "position"]
        constraints = [
            models.UniqueConstraint(fields=["product", "position"], name="product_image_position"),
        ]

    def __str__(self) -> str:
        return f"{self.product_id} [{self.position}]"
