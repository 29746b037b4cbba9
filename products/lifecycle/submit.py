"""Submitting a catalogue: checking it, storing it, and creating its Request."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Unpack

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files import File
from django.db import IntegrityError, transaction

from products.catalogue import (
    Catalogue,
    CatalogueError,
    PictureArchive,
    Preview,
    Problem,
    Reading,
    Summary,
    is_in_archive,
    preview,
    size_text,
    validate,
)
from products.lifecycle.profiles import check_options
from products.lifecycle.signals import request_submitted
from products.models import Profile, Request, RunOrigin
from products.models.files import discard, shown_name, storage_checked
from products.models.recipes import RECIPE_OPTIONS
from products.sample import sample_number

#: Options of a Request that a repeat keeps.
REPEATED_OPTIONS = (*RECIPE_OPTIONS, "archive", "strict", "force", *Reading.__annotations__)


class IdempotencyConflict(Exception):
    """The idempotency key was used before, for another file or other options."""


def submit(
    owner: User,
    file: "File[bytes]",
    *,
    strict: bool = False,
    idempotency_key: str | None = None,
    resume_since: datetime | None = None,
    on_submitted: Callable[[Request], None] | None = None,
    profile: Profile | None = None,
    said: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Request, bool]:
    """Check a catalogue, store it and create its Request.

    Returns the Request and whether it is new: the same `idempotency_key` with the same file and options
    returns the first Request again. With `resume_since`, the latest unfinished Request with the same file and
    options that was created since then is returned. `on_submitted` is called in the transaction that creates
    the Request; what it raises undoes that. `options` are fields of the Request, those of its `profile` among
    them (`choose_options`). What was `said` of them makes two submissions the same, not what a profile had at
    the time; by default it is `options`.

    Raises CatalogueError where the file is refused, IdempotencyConflict where the key was used for another
    file or other options, and StorageUnavailable where it cannot be stored; nothing is stored then.
    """
    batch = Request(owner=owner, idempotency_key=idempotency_key, profile=profile, strict=strict, **options)
    summary = check_catalogue(file, strict=strict, **batch.reading)
    batch.filename = shown_name(file)
    batch.fingerprint = _fingerprint(file, **({"strict": strict, **options} if said is None else said))
    batch.header_hash = summary.header_hash
    batch.products_total, batch.urls_total = summary.rows, summary.urls
    batch.read_as = summary.read_as
    if idempotency_key and (earlier := _same_submission(batch)):
        return earlier, False
    if resume_since and (unfinished := _unfinished_since(resume_since, batch)):
        return unfinished, False
    file.seek(0)
    with storage_checked():
        batch.source.save(batch.filename, file, save=False)
    try:
        with storage_checked(), transaction.atomic():
            batch.profile = Profile.objects.kept(profile)
            batch.save(force_insert=True)
            if on_submitted:
                on_submitted(batch)
            request_submitted.send(Request, batch=batch)
    except BaseException as error:
        discard(batch.source)
        lost_race = idempotency_key and isinstance(error, IntegrityError)
        if lost_race and (earlier := _same_submission(batch)):
            return earlier, False
        raise
    return batch, True


def repeat(batch: Request, **options: Any) -> Request:
    """Submit the file of a Request again, as a new Request of the same owner.

    `options` replace those of the Request, its `profile` among them. Raises CatalogueError, OptionsRefused
    and FileNotFoundError.
    """
    kept = {name: getattr(batch, name) for name in ("profile", *REPEATED_OPTIONS)}
    check_options(kept | options)
    with storage_checked(), batch.source.open("rb") as source:
        file = File(source, name=batch.filename)
        again, _ = submit(batch.owner, file, run_by=RunOrigin.REPEAT, **(kept | options))
    return again


@storage_checked()  # a temporary file may find no room
def check_catalogue(file: "File[bytes]", *, strict: bool = False, **reading: Unpack[Reading]) -> Summary:
    """Read a catalogue once, storing nothing. Raises CatalogueError when it is refused."""
    if file.size > settings.UPLOAD_MAX_BYTES:
        raise CatalogueError([file_too_large()])
    return validate(Catalogue(file, **reading), strict=strict, max_urls=settings.REQUEST_MAX_IMAGES)


def file_too_large() -> Problem:
    """Return the problem of a file of more than UPLOAD_MAX_BYTES."""
    limit = size_text(settings.UPLOAD_MAX_BYTES)
    return Problem("file_too_large", f"The file is larger than the limit of {limit}.")


@storage_checked()
def preview_catalogue(
    file: "File[bytes]", archive: PictureArchive | None = None, **reading: Unpack[Reading]
) -> Preview:
    """Return a preview of how a catalogue would be read. Nothing is stored or fetched.

    `archive` is the ZIP that its pictures are in. Raises CatalogueError as `submit` does. The limits are
    checked first, because a preview keeps data of every URL in memory.
    """
    check_catalogue(file, **reading)
    return preview(
        Catalogue(file, **reading),
        lambda url: (archive is not None and is_in_archive(url)) or sample_number(url) is not None,
        lambda url: archive.missing_path(url) if archive and is_in_archive(url) else "",
    )


def _fingerprint(file: "File[bytes]", **options: Any) -> str:
    """Return the SHA-256 over file and options. Two submissions with the same one are the same."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    file.seek(0)
    for chunk in file.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def _same_submission(batch: Request) -> Request | None:
    """Return the Request that already has the idempotency key of `batch`. Raises IdempotencyConflict."""
    earlier = Request.objects.filter(owner=batch.owner, idempotency_key=batch.idempotency_key).first()
    if earlier and earlier.fingerprint != batch.fingerprint:
        raise IdempotencyConflict
    return earlier


def _unfinished_since(moment: datetime, batch: Request) -> Request | None:
    """Return the latest unfinished Request with the owner, file and options of `batch` since `moment`."""
    same = Request.objects.present().active().filter(owner=batch.owner, fingerprint=batch.fingerprint)
    latest = same.filter(created_at__gte=moment).order_by("-created_at")
    # The same profile may have had other options.
    return next((earlier for earlier in latest if earlier.options == batch.options), None)
