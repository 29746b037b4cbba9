"""Drafts: catalogues from the upload form that are previewed before they are submitted."""

from typing import Any

from django.contrib.auth.models import User
from django.core.files import File

from products.models import Draft
from products.models.files import discard, shown_name, storage_checked

#: Drafts kept for each user, one for each upload form that may be open.
MAX_DRAFTS_PER_USER = 5


def keep_draft(owner: User, file: "File[bytes]", **options: Any) -> Draft:
    """Store an uploaded file as a draft of `owner`, with the options of the form.

    The oldest drafts above MAX_DRAFTS_PER_USER are discarded. Raises StorageUnavailable where the file cannot
    be stored; nothing is stored then.
    """
    draft = Draft(owner=owner, filename=shown_name(file), options=options)
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


def discard_draft(draft: Draft) -> None:
    """Delete a draft with its file."""
    draft.delete()
    discard(draft.file)
