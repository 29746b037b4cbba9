"""The rows of a Request that was canceled, retried or deleted follow it, some thousand at a time."""

from typing import TYPE_CHECKING

from products.models.states import Sweep

if TYPE_CHECKING:
    from products.models.request import Request

#: Rows that follow in one transaction.
SWEEP_ROWS = 5000


def sweep_rows(batch: "Request") -> bool:
    """Let at most SWEEP_ROWS rows follow, and count; whether there may be others.

    The caller holds the Request's lock, and saves it.
    """
    steps = {Sweep.CANCEL: _cancel, Sweep.RETRY: _retry, Sweep.DELETE: _delete}
    return steps[Sweep(batch.sweep)](batch) >= SWEEP_ROWS


def _cancel(batch: "Request") -> int:
    swept = batch.images.pending().first_rows(SWEEP_ROWS).settle_canceled()
    batch.images_canceled += swept
    return swept


def _retry(batch: "Request") -> int:
    # Not what has failed in this run already, while the sweep is still under way.
    earlier = batch.images.filter(settled_at__lt=batch.started_at)
    again = earlier.retryable(batch.sweep_code, batch.sweep_host).first_rows(SWEEP_ROWS)
    failed = again.failed().count()
    swept = again.reset()
    batch.images_failed -= failed
    batch.images_canceled -= swept - failed
    return swept


def _delete(batch: "Request") -> int:
    swept = batch.images.first_rows(SWEEP_ROWS).discard()
    if swept < SWEEP_ROWS:  # no Image is left, so nothing depends on the Products
        swept += batch.products.first_rows(SWEEP_ROWS - swept).discard()
    return swept
