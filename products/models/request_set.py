"""Sets of Requests: who may see them, what is to be done with them, and how one is submitted."""

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from django.contrib.auth.models import AnonymousUser, User
from django.core.files import File
from django.db import IntegrityError, models, transaction
from django.db.models import Case, Count, F, Min, Q, Sum, When
from django.db.models.functions import Coalesce, Greatest

from products.lifecycle.signals import request_submitted
from products.lifecycle.submit import IdempotencyConflict, check_catalogue, fingerprint
from products.models.states import RequestStatus, Sweep

if TYPE_CHECKING:
    from products.models.request import Request


class RequestQuerySet(models.QuerySet["Request"]):
    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Staff see every Request, others their own."""
        return self.present() if user.is_staff else self.present().filter(owner=user)

    def present(self) -> Self:
        """Without those that are being deleted."""
        return self.exclude(sweep=Sweep.DELETE)

    def active(self) -> Self:
        return self.filter(status__in=self.model.ACTIVE)

    def unsettled(self) -> Self:
        """Those for which processing has something to do."""
        return self.filter(Q(status__in=self.model.ACTIVE) | ~Q(sweep=""))

    def open_work(self) -> tuple[int, int]:
        """How many are unfinished, and their unfinished Images; while a file is read its URLs count."""
        is_read = Q(ingested_rows__gte=F("products_total"))
        images = Case(When(is_read, then="images_total"), default=Greatest("urls_total", "images_total"))
        settled = F("images_completed") + F("images_failed") + F("images_canceled")
        found = self.active().aggregate(requests=Count("pk"), images=Sum(images - settled))
        return found["requests"], found["images"] or 0

    def waiting(self) -> dict[str, Any]:
        """The `count` of those that no worker has begun, and `since` when the first of them waits."""
        waiting = self.filter(status=RequestStatus.PENDING)
        return waiting.aggregate(count=Count("pk"), since=Min("created_at"))

    def under_way(self) -> dict[str, Any]:
        """The `count` of those at work, and `since` when one of them has not moved."""
        moved_at = Coalesce("last_progress_at", "started_at")
        return self.filter(status=RequestStatus.PROCESSING).aggregate(count=Count("pk"), since=Min(moved_at))

    def finished_before(self, moment: datetime) -> Self:
        return self.filter(status__in=self.model.FINISHED, finished_at__lt=moment)

    def sources_in_use(self, names: Collection[str]) -> set[str]:
        """Which of these stored catalogues a Request refers to."""
        return set(self.filter(source__in=names).values_list("source", flat=True))

    def locked(self) -> Self:
        # Not the key: rows that refer to the Request may be inserted meanwhile.
        return self.select_for_update(no_key=True)

    def submit(
        self,
        owner: User,
        file: "File[bytes]",
        *,
        strict: bool = False,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> tuple["Request", bool]:
        """Check a catalogue, keep it, and announce it: the Request, and whether it is new.

        The same `idempotency_key` with the same file and options answers the first Request again.
        Raises CatalogueError where the file is refused and IdempotencyConflict where the key was used for
        something else; nothing is stored then.
        """
        batch = self.model(owner=owner, idempotency_key=idempotency_key, **options)
        summary = check_catalogue(file, strict=strict, **batch.reading)
        batch.filename = self.model.shown_name(file)
        batch.fingerprint = fingerprint(file, strict=strict, **options)
        batch.products_total, batch.urls_total = summary.rows, summary.urls
        if idempotency_key and (earlier := self._submitted(batch)):
            return earlier, False
        file.seek(0)
        batch.source.save(batch.filename, file, save=False)
        try:
            with transaction.atomic():
                batch.save(force_insert=True)
                request_submitted.send(self.model, batch=batch)
        except BaseException as error:
            batch.source.delete(save=False)
            is_rival = idempotency_key and isinstance(error, IntegrityError)
            if is_rival and (earlier := self._submitted(batch)):
                return earlier, False
            raise
        return batch, True

    def _submitted(self, batch: "Request") -> "Request | None":
        """The Request that has `batch`'s idempotency key already."""
        earlier = self.filter(owner=batch.owner, idempotency_key=batch.idempotency_key).first()
        if earlier and earlier.fingerprint != batch.fingerprint:
            raise IdempotencyConflict
        return earlier
