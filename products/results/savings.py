"""Bytes saved by the pictures of a Request, by the format of their sources."""

from dataclasses import dataclass

from django.db.models import Count, Sum

from products.models import ImageStatus, Request

#: The first Images of a Request, by number. Grouping 20,000 of them takes about 20 ms.
MAX_GROUPED = 20_000


@dataclass(frozen=True, slots=True)
class FormatSavings:
    """The completed Images with one source format, and their bytes before and after."""

    format: str
    count: int
    before: int
    after: int

    @property
    def saved(self) -> int:
        """Bytes saved; below zero where outputs are larger, as those with renditions may be."""
        return self.before - self.after


def savings_by_format(batch: Request) -> list[FormatSavings]:
    """Return the savings of the first MAX_GROUPED Images by source format, the largest sources first."""
    images = batch.images.filter(
        status=ImageStatus.COMPLETED, number__lte=MAX_GROUPED, source_bytes__isnull=False
    )
    groups = images.exclude(output_bytes=None).order_by().values_list("source_format")
    sums = groups.annotate(count=Count("*"), before=Sum("source_bytes"), after=Sum("output_bytes"))
    return sorted((FormatSavings(*row) for row in sums), key=lambda group: -group.before)
