"""Admin of workers and paused hosts."""

import django_dramatiq.admin  # noqa: F401 (registers Task, so that it can be unregistered below)
from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django_dramatiq.models import Task

from processing.hosts.models import PausedHost
from processing.workers.models import Worker
from products.admin.base import ReadOnlyAdmin

# The table of django_dramatiq's AdminMiddleware, which is not used, stays empty.
admin.site.unregister(Task)


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ["host", "pid", "alive", "started_at", "seen_at"]
    search_fields = ["host"]
    search_help_text = "Part of the host name."
    readonly_fields = ["alive"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        alive = Worker.objects.alive().filter(pk=OuterRef("pk"))
        workers: QuerySet[Worker] = super().get_queryset(request)
        return workers.annotate(is_alive=Exists(alive))

    @admin.display(boolean=True)
    def alive(self, worker: Worker) -> bool:
        """Return whether the worker's last heartbeat is recent, by the clock of the database."""
        return bool(getattr(worker, "is_alive"))  # noqa: B009 (annotated)


@admin.register(PausedHost)
class PausedHostAdmin(ReadOnlyAdmin):
    list_display = ["host", "code", "number", "until"]
    search_fields = ["host"]
    search_help_text = "Part of the host name."
