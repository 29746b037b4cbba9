"""Who works, and whom the work leaves alone."""

from django.contrib import admin
from django.utils import timezone

from processing.models import DEAD_AFTER, PausedHost, Worker
from products.admin.base import ReadOnlyAdmin


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ["host", "pid", "alive", "started_at", "seen_at"]
    search_fields = ["host"]
    search_help_text = "A part of the host's name."
    readonly_fields = ["alive"]

    @admin.display(boolean=True)
    def alive(self, worker: Worker) -> bool:
        return worker.seen_at > timezone.now() - DEAD_AFTER


@admin.register(PausedHost)
class PausedHostAdmin(ReadOnlyAdmin):
    list_display = ["host", "code", "number", "until"]
    search_fields = ["host"]
    search_help_text = "A part of the host's name."
