"""Webhooks after Standard Webhooks 1.0: signed, tried again, logged."""
