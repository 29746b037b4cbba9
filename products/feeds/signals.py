"""Signals about feeds, for packages that products cannot import.

Each is sent inside the transaction that makes it true.
"""

from django.dispatch import Signal

#: A run has begun and its file has to be fetched. `run` is the FeedRun.
run_started = Signal()

#: A result has to be delivered: that of the feed with the id `feed_id`.
delivery_planned = Signal()

#: The owner of a feed should be told: `feed`, and `event`, one of `feed.failed feed.held feed.missed`.
alerted = Signal()
