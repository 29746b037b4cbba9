"""For the first page of the admin."""

from django import template

from processing.monitoring.overview import Overview

register = template.Library()


@register.simple_tag
def overview() -> Overview:
    """How the service is doing; each number is asked for where the template names it."""
    return Overview()
