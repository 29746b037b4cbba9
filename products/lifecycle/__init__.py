"""Every transition of a Request.

    submit ──▶ pending ──first rows──▶ processing ──all settled──▶ completed | completed_with_errors | failed
                  │                        │
                  ├───────  cancel  ───────┴──▶ canceled
                  └──── abort_ingest ──────┴──▶ failed

    retry, replace, fetch_from:
            completed_with_errors | failed | canceled | completed ──▶ processing, as the next `run`
    cancel of such a run:  processing ──▶ completed_with_errors | failed | canceled, by its counts
    set_ignored:  the status that follows from the counts
    delete: any status ──▶ the rows are deleted

A transition is a transaction that locks the Request row first and its Images after that, so that status,
counters and rows agree at every moment and two writers cannot deadlock. It returns False, 0 or None when
the Request is not (or no longer) in a status that allows it: losing a race is not an error. Repairs raise
StillActive, because their callers answer that with a conflict.

Cancel, retry and delete change the Request row at once. Sweeps change its other rows, some at a time:
the first of them in the same transaction, the rest in the background (`sweep`).
"""

from products.lifecycle.corrections import Corrections, correct
from products.lifecycle.drafts import (
    discard_draft,
    idempotency_key,
    keep_draft,
    room_for_drafts,
    start_draft,
    stored_archive,
)
from products.lifecycle.ingest import Chunk, abort_ingest, ingest_chunk, parts_of_row
from products.lifecycle.profiles import (
    OptionsRefused,
    check_options,
    choose_offered,
    choose_options,
    choose_profile,
    usual_options,
)
from products.lifecycle.record import Outcome, PictureFacts, StoredRendition, record
from products.lifecycle.repair import Replacement, StillActive, fetch_from, replace, retry, set_ignored
from products.lifecycle.submit import (
    IdempotencyConflict,
    check_catalogue,
    file_too_large,
    preview_catalogue,
    repeat,
    submit,
)
from products.lifecycle.transitions import cancel, delete, sweep

__all__ = [
    "Chunk",
    "Corrections",
    "IdempotencyConflict",
    "OptionsRefused",
    "Outcome",
    "PictureFacts",
    "Replacement",
    "StillActive",
    "StoredRendition",
    "abort_ingest",
    "cancel",
    "check_catalogue",
    "check_options",
    "choose_offered",
    "choose_options",
    "choose_profile",
    "correct",
    "delete",
    "discard_draft",
    "fetch_from",
    "file_too_large",
    "idempotency_key",
    "ingest_chunk",
    "keep_draft",
    "parts_of_row",
    "preview_catalogue",
    "record",
    "repeat",
    "replace",
    "retry",
    "room_for_drafts",
    "set_ignored",
    "start_draft",
    "stored_archive",
    "submit",
    "sweep",
    "usual_options",
]
