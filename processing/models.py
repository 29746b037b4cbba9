"""The models of the app `processing`, each defined in the room that owns it."""

from processing.hosts.models import PausedHost
from processing.work.models import KnownPicture, Trial
from processing.workers.models import Maintenance, Worker

__all__ = ["KnownPicture", "Maintenance", "PausedHost", "Trial", "Worker"]
