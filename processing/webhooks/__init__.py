"""Webhooks by Standard Webhooks 1.0: events sent to endpoints, and reports received from external workers."""
