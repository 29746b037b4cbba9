"""Who works, when who next prunes."""

from processing.models.worker import (
    DEAD_AFTER,
    HEARTBEAT,
    PRUNE_EVERY,
    Pruning,
    Worker,
    this_host,
    this_process,
)

__all__ = ["DEAD_AFTER", "HEARTBEAT", "PRUNE_EVERY", "Pruning", "Worker", "this_host", "this_process"]
