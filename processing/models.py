"""The models of the app `processing`, each defined in the room that owns it."""

from processing.hosts.models import PausedHost
from processing.work.models import Memory
from processing.workers.models import Pruning, Resends, Worker

__all__ = ["Memory", "PausedHost", "Pruning", "Resends", "Worker"]
