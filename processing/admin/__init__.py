"""What staff see of the work, and what they can do about it."""

import django_dramatiq.admin  # noqa: F401 (registers Task, so that it can be taken out below)
from django.contrib import admin
from django_dramatiq.models import Task

from processing.admin import requests, webhooks, workers  # noqa: F401 (they register)

# Its middleware is not used, so that its table stays empty.
admin.site.unregister(Task)
