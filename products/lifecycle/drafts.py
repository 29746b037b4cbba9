"""Drafts: catalogues from the upload form that are previewed before they are submitted."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files import File

from products.catalogue import PictureArchive, Summary
from products.lifecycle.profiles import choose_offered
from products.lifecycle.submit import submit
from products.models import Draft, Request
from products.models.files import STORAGE_ERRORS, discard, shown_name, storage_checked, uploads_storage

#: Drafts kept for each user.
MAX_DRAFTS_PER_USER = 20


def room_for_drafts(owner: User) -> int:
    """Return how many drafts of a user can be added without discarding another."""
    return max(0, MAX_DRAFTS_PER_USER - Draft.objects.current().filter(owner=owner).count())


def keep_draft(owner: User, file: "File[bytes]", summary: Summary | None = None, **options: Any) -> Draft:
    """Store an uploaded file as a draft of `owner`, with the options of the form.

    `summary` says what the file has when it is read with them; None where that is not possible. The oldest
    drafts above MAX_DRAFTS_PER_USER are discarded. Raises StorageUnavailable where the file cannot be stored;
    nothing is stored then.
    """
    draft = Draft(owner=owner, filename=shown_name(file), options=options)
    if summary:
        draft.rows, draft.invalid_urls = summary.rows, summary.invalid_urls
        draft.picture_urls = summary.urls - summary.invalid_urls
    with storage_checked():
        draft.file.save(draft.filename, file, save=False)
        try:
            draft.save(force_insert=True)
        except BaseException:
            discard(draft.file)
            raise
    for old in Draft.objects.filter(owner=owner).order_by("-created_at")[MAX_DRAFTS_PER_USER:]:
        discard_draft(old)
    return draft


@contextmanager
def stored_archive(file: "File[bytes]") -> Iterator[tuple["File[bytes]", str]]:
    """Store a ZIP of a catalogue with its pictures. Yield the catalogue, and the name of the stored ZIP.

    If the block raises, the ZIP is deleted again. Otherwise prune deletes it once no Request refers to it.
    Raises CatalogueError where the ZIP cannot be used, StorageUnavailable where it cannot be stored.
    """
    storage = uploads_storage()
    with TemporaryFile() as unpacked:
        with storage_checked():
            archive = PictureArchive(file)
            archive.read_catalogue(unpacked, settings.UPLOAD_MAX_BYTES)
            unpacked.seek(0)
            file.seek(0)
            name = storage.save(f"pictures-{uuid4()}.zip", file)
        try:
            yield File(unpacked, archive.catalogue_name), name
        except BaseException:
            with suppress(*STORAGE_ERRORS):  # prune deletes it after a day
                storage.delete(name)
            raise


def start_draft(draft: Draft, usual: Mapping[str, Any]) -> Request:
    """Submit a draft as it was uploaded, with the options of the form, and delete it.

    Without a profile, options that were not chosen are the `usual` ones. Raises CatalogueError,
    OptionsRefused where its profile has been deleted, StorageUnavailable, and FileNotFoundError if its file
    has been deleted.
    """
    given = {name: value for name, value in draft.options.items() if name != "profile"}
    with storage_checked(), draft.file.open("rb") as stored:
        file = File(stored, draft.filename)
        profile = choose_offered(draft.owner, file, draft.options.get("profile"))
        others = profile.upload_options if profile else usual
        options = {name: value for name, value in others.items() if value is not None} | given
        key = idempotency_key(draft.pk)
        batch, _is_new = submit(draft.owner, file, idempotency_key=key, profile=profile, **options)
    discard_draft(draft)
    return batch


def idempotency_key(draft: UUID) -> str:
    """Return the idempotency key of the Request that a draft becomes, so that it becomes one only."""
    return f"draft {draft}"


def discard_draft(draft: Draft) -> None:
    """Delete a draft with its file, and with its ZIP unless a Request refers to that."""
    draft.delete()
    discard(draft.file)
    archive = draft.options.get("archive")
    if archive and not Request.objects.sources_in_use([archive]):
        with suppress(*STORAGE_ERRORS):  # prune deletes it after a day
            uploads_storage().delete(archive)
