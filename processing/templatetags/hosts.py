"""What pages of products show about hosts, so that products need not know processing."""

from typing import Any

from django import template

from processing.hosts.models import PausedHost
from products.models import Request

#: All others wait behind them unnamed.
SHOWN_HOSTS = 20

register = template.Library()


@register.inclusion_tag("hosts/_paused_hosts.html")
def paused_hosts_of(batch: Request) -> dict[str, Any]:
    """Hosts that are left alone just now and that pictures of a Request wait for."""
    return {"hosts": PausedHost.objects.delaying(batch)[:SHOWN_HOSTS]}
