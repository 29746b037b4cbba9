"""What processing's models tell the rest of processing, inside the transaction that makes it true."""

from django.dispatch import Signal

#: Deliveries wait for their next attempt now. `endpoint_ids` are the endpoints to which.
deliveries_due = Signal()
