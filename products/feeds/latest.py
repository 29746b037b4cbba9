"""The latest result of a feed, as it is downloaded and delivered: whole, and of one version."""

from collections.abc import Iterator

from products.models import Request
from products.results.result_csv import result_csv


class ResultChanged(Exception):
    """The Request was changed while its result was read, which may therefore be a mixture."""


def latest_result(batch: Request, *, replace: bool = False) -> Iterator[bytes]:
    """Yield the result of a Request, as it was before a retry that is under way.

    Raises ResultChanged at its end if the Request was changed meanwhile: one half may be older than the
    other.
    """
    return _whole(batch, _state_of(batch), result_csv(batch, replace=replace, before_run=True))


def version_of(batch: Request) -> str:
    """Return a text that changes whenever the result of a Request does. A retry changes it when it ends."""
    run, finished_at, sweep = batch.run, batch.finished_at, batch.sweep
    if batch.is_active and (last := batch.runs.filter(number__lt=batch.run).last()):
        run, finished_at, sweep = last.number, last.finished_at, ""
    return f"{batch.pk} {run} {finished_at} {sweep} {batch.images_ignored}"


def _state_of(batch: Request) -> tuple[str, int]:
    # A result that began before a retry does not know which pictures the retry changes.
    return version_of(batch), batch.run


def _whole(batch: Request, state: tuple[str, int], pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield from pieces
    current = Request.objects.filter(pk=batch.pk).first()
    if current is None or _state_of(current) != state:
        raise ResultChanged(f"Request {batch.pk} was changed while its result was read")
