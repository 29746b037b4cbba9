"""Client for Image Extractor: upload a catalogue, wait, take the result; verify webhooks."""

from imageextractor_client.client import Client, Request
from imageextractor_client.errors import ApiError, Problem
from imageextractor_client.models import Counts, Image, ImageError, Picture, Product
from imageextractor_client.webhooks import InvalidSignature, verify_webhook

__all__ = [
    "ApiError",
    "Client",
    "Counts",
    "Image",
    "ImageError",
    "InvalidSignature",
    "Picture",
    "Problem",
    "Product",
    "Request",
    "verify_webhook",
]
