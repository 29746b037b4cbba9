"""What staff see of the work."""

import django_dramatiq.admin  # noqa: F401 (registers Task, so that it can be taken out below)
from django.contrib import admin
from django.utils import timezone
from django_dramatiq.models import Task

from processing.models import DEAD_AFTER, Worker
from products.admin import ReadOnlyAdmin

# Its middleware is not used, so that its table stays empty.
admin.site.unregister(Task)


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ["host", "pid", "alive", "started_at", "seen_at"]
    search_fields = ["host"]

    @admin.display(boolean=True)
    def alive(self, worker: Worker) -> bool:
        return worker.seen_at > timezone.now() - DEAD_AFTER
