"""What products tells the rest of the project. Both are sent inside the transaction that makes them true."""

from django.dispatch import Signal

#: A Request is waiting for work: newly submitted, to be tried again, or with rows that are to follow a
#: cancel or a delete. `batch` is the Request.
request_submitted = Signal()

#: A Request has ended, once per `run`, in whichever final status `batch.status` says.
request_finished = Signal()
