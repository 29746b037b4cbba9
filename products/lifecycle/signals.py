"""Signals about Requests, for packages that products cannot import.

Each is sent inside the transaction that makes it true, with the Request as `batch`.
"""

from django.dispatch import Signal

#: A Request was submitted or retried and needs work.
request_submitted = Signal()

#: A Request has finished, once per `run`. `batch.status` is its final status.
request_finished = Signal()

#: A cancel or a delete has left rows to a sweep in the background.
sweep_started = Signal()
