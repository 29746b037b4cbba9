"""What pages of products show about hosts, so that products need not know processing."""

from typing import Any

from django import template

from processing.models import PausedHost
from products.models import Request

register = template.Library()


@register.inclusion_tag("_paused_hosts.html")
def paused_hosts_of(batch: Request) -> dict[str, Any]:
    """The hosts that are left alone just now and that pictures of a Request wait for."""
    return {"hosts": [paused for paused in PausedHost.objects.current() if paused.delays(batch)]}
