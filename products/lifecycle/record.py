"""Record the outcomes of attempts: write them to Images and count them in the Request."""

import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple, Self

from django.db import connection, transaction
from django.utils import timezone

from products.lifecycle.transitions import settle
from products.models import Image, ImageStatus, Rendition, Request, bulk
from products.models.ids import rendition_id
from products.models.image import MAX_TRIES


class PictureFacts(NamedTuple):
    """Size in bytes and pixels, and format, of a source or an output.

    `quality` is that of an output, unless it has the source's own data or is lossless.
    """

    bytes: int
    width: int
    height: int
    format: str
    quality: int | None = None


class StoredRendition(NamedTuple):
    """A rendition in storage: a new one, or that of the Image `taken_from`."""

    name: str
    key: str
    output: PictureFacts
    taken_from: uuid.UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of an attempt at an Image: completed, failed, or pending until the next attempt.

    The fields are those of Image, but for `source`, `output` and `renditions`. `taken_from` is the Image
    whose stored output is used again; `record` makes sure that it still refers to that output.
    """

    id: uuid.UUID
    status: ImageStatus
    attempts: int
    due_at: datetime
    settled_at: datetime | None = None
    error_code: str = ""
    error_detail: str = ""
    unchanged: bool = False
    output_key: str = ""
    external_url: str = ""
    animated: bool = False
    source: PictureFacts | None = None
    output: PictureFacts | None = None
    taken_from: uuid.UUID | None = None
    renditions: Sequence[StoredRendition] = ()

    @classmethod
    def completed(
        cls,
        image_id: uuid.UUID,
        attempts: int,
        *,
        output_key: str,
        source: PictureFacts,
        output: PictureFacts,
        animated: bool = False,
        taken_from: uuid.UUID | None = None,
        renditions: Sequence[StoredRendition] = (),
    ) -> Self:
        """Return the outcome with an output in storage: a new one, or that of the Image `taken_from`.

        The picture is unchanged if this and all `renditions` are taken over.
        """
        now = timezone.now()
        return cls(
            id=image_id,
            status=ImageStatus.COMPLETED,
            attempts=attempts,
            due_at=now,
            settled_at=now,
            unchanged=taken_from is not None and all(one.taken_from for one in renditions),
            output_key=output_key,
            source=source,
            output=output,
            animated=animated,
            taken_from=taken_from,
            renditions=renditions,
        )

    @classmethod
    def completed_elsewhere(cls, image_id: uuid.UUID, attempts: int, url: str) -> Self:
        """Return the outcome of an Image that an external worker completed with an output at `url`."""
        now = timezone.now()
        return cls(
            id=image_id,
            status=ImageStatus.COMPLETED,
            attempts=attempts,
            due_at=now,
            settled_at=now,
            external_url=url,
        )

    @classmethod
    def failed(cls, image_id: uuid.UUID, attempts: int, code: str, detail: str) -> Self:
        """Return the outcome of an Image that will not be tried again."""
        now = timezone.now()
        return cls(
            id=image_id,
            status=ImageStatus.FAILED,
            attempts=attempts,
            due_at=now,
            settled_at=now,
            error_code=code,
            error_detail=detail.replace("\0", ""),  # PostgreSQL cannot store it
        )

    @classmethod
    def postponed(
        cls, image_id: uuid.UUID, attempts: int, delay_seconds: float, code: str, detail: str
    ) -> Self:
        """Return the outcome of an Image that is due again after a delay, with its error so far."""
        return cls(
            id=image_id,
            status=ImageStatus.PENDING,
            attempts=attempts,
            due_at=timezone.now() + timedelta(seconds=delay_seconds),
            error_code=code,
            error_detail=detail.replace("\0", ""),
        )

    def without_output(self) -> Self:
        """Return the outcome without the output that was taken over: pending, and due at once."""
        return replace(
            self,
            status=ImageStatus.PENDING,
            settled_at=None,
            unchanged=False,
            animated=False,
            output_key="",
            source=None,
            output=None,
            taken_from=None,
            renditions=(),
        )

    @property
    def sources(self) -> set[uuid.UUID]:
        """The Images whose stored outputs are used again."""
        return {pk for pk in (self.taken_from, *(one.taken_from for one in self.renditions)) if pk}

    @property
    def output_bytes(self) -> int:
        """Bytes of the output and of all renditions."""
        main = self.output.bytes if self.output else 0
        return main + sum(one.output.bytes for one in self.renditions)

    @property
    def bytes_taken(self) -> int:
        """The part of `output_bytes` that was taken over from earlier Images."""
        main = self.output.bytes if self.output and self.taken_from else 0
        return main + sum(one.output.bytes for one in self.renditions if one.taken_from)


_NO_FACTS = (None, None, None, "", None)
_FIELDS = (
    *("id", "status", "attempts", "due_at", "settled_at", "error_code", "error_detail"),
    *("unchanged", "animated", "output_key", "external_url"),
)
_values = attrgetter(*_FIELDS)
#: The columns of Image that an outcome writes, in the order of `_row`.
_COLUMNS = (
    *_FIELDS,
    "claimed_by",
    *("source_bytes", "source_width", "source_height", "source_format"),
    *("output_bytes", "output_width", "output_height", "output_format", "output_quality"),
)


_RENDITION_COLUMNS = ("id", "image_id", "name", "key", "bytes", "width", "height", "format", "quality")


def _row(outcome: Outcome) -> tuple[object, ...]:
    return *_values(outcome), None, *(outcome.source or _NO_FACTS)[:4], *(outcome.output or _NO_FACTS)


def _rendition_rows(outcome: Outcome) -> Iterator[tuple[str | int | None, ...]]:
    for one in outcome.renditions:
        yield rendition_id(outcome.id, one.name), outcome.id.hex, one.name, one.key, *one.output


def record(
    request_id: uuid.UUID, outcomes: Iterable[Outcome], worker_id: uuid.UUID, run: int | None = None
) -> list[Outcome]:
    """Write the outcomes of Images that `worker_id` holds, and return those that were written.

    `run` is the run in which the attempts were begun, if they may have outlasted it: in a later one, the same
    Images may be held for other attempts, and nothing is written.

    Nothing is written once the run has ended. An Image that is no longer pending, or no longer held by this
    worker, is not changed. If an output that an Image takes over no longer exists, the Image is written as
    pending, and fetched in full the next time.
    """
    by_id = {outcome.id: outcome for outcome in outcomes}
    with transaction.atomic():
        batch = Request.objects.locked().filter(pk=request_id).first()
        # After a cancel, the status and the run have their counts, though its sweep may still be under way.
        if batch is None or not batch.is_active or run not in (None, batch.run):
            return []
        # With a condition on the status or the Request, SQLite would read all pending Images of the Request.
        held = Image.objects.filter(pk__in=by_id, claimed_by=worker_id).select_for_update()
        rows = held.values_list("pk", "status", "request")
        pending = [pk for pk, *state in rows if state == [ImageStatus.PENDING, request_id]]
        written = _confirm_outputs([by_id[pk] for pk in pending])
        bulk.update(Image, _COLUMNS, map(_row, written))
        if renditions := [row for outcome in written for row in _rendition_rows(outcome)]:
            bulk.insert(Rendition(), _RENDITION_COLUMNS, renditions)
        if repeated := [one for one in written if one.status == ImageStatus.PENDING and one.error_code]:
            _remember_tries(repeated)
        _count(batch, written)
        settle(batch)
        return written


def _confirm_outputs(outcomes: list[Outcome]) -> list[Outcome]:
    """Return the outcomes. Those that take over an output to which no row refers any more are made pending.

    The rows that refer to the other outputs are locked until the end of the transaction, which writes the
    outcomes: so prune finds a row that refers to each output at any moment. FOR KEY SHARE blocks nothing but
    deletes; rows that are being deleted are skipped.
    """
    sources = {pk for outcome in outcomes for pk in outcome.sources}
    if not sources:
        return outcomes
    referring = Image.objects.filter(pk__in=sources, status=ImageStatus.COMPLETED)
    referring = referring.exclude(output_key="").only("pk").order_by()
    if connection.features.has_select_for_update:
        statement, parameters = referring.query.sql_with_params()
        locked = Image.objects.raw(f"{statement} FOR KEY SHARE SKIP LOCKED", parameters)
        kept = {image.pk for image in locked}
    else:  # SQLite has one writer at a time
        kept = {image.pk for image in referring}
    return [outcome if outcome.sources <= kept else outcome.without_output() for outcome in outcomes]


def _remember_tries(outcomes: list[Outcome]) -> None:
    """Add attempts that will be repeated to the `tries` of their Images."""
    kept = dict(Image.objects.filter(pk__in=[one.id for one in outcomes]).values_list("pk", "tries"))
    at = timezone.now().isoformat(timespec="seconds")
    rows = []
    for one in outcomes:
        last = {"at": at, "code": one.error_code, "detail": one.error_detail}
        rows.append((one.id, [*(kept[one.id] or []), last][-MAX_TRIES:]))
    bulk.update(Image, ("id", "tries"), rows)


def _count(batch: Request, outcomes: Collection[Outcome]) -> None:
    """Add the written outcomes to the Request's counters."""
    completed = [outcome for outcome in outcomes if outcome.status == ImageStatus.COMPLETED]
    failed = sum(outcome.status == ImageStatus.FAILED for outcome in outcomes)
    if completed or failed:
        batch.last_progress_at = timezone.now()
        batch.count_progress(len(completed) + failed)
    batch.images_completed += len(completed)
    batch.images_failed += failed
    batch.images_unchanged += sum(outcome.unchanged for outcome in completed)
    batch.bytes_unchanged += sum(outcome.bytes_taken for outcome in completed)
    # Also of a picture that only gets a rendition more: its saving was counted with its main output.
    batch.bytes_source_unchanged += sum(
        outcome.source.bytes for outcome in completed if outcome.source and outcome.taken_from
    )
    batch.bytes_source += sum(outcome.source.bytes for outcome in completed if outcome.source)
    batch.bytes_output += sum(outcome.output_bytes for outcome in completed)
