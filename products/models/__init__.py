"""The catalogue: a Request, its Products, the distinct Images that they show, and who shows which.

Every transition is a conditional update. A transaction that writes a Request and Images locks the Request
first, so that counters, status and rows always agree and two writers can never wait for each other.
"""

from products.accounts.models import ApiToken
from products.models.chunk import Chunk
from products.models.draft import Draft
from products.models.image import Image, Output
from products.models.product import Product, ProductImage, ProductQuerySet
from products.models.request import Request
from products.models.request_set import RequestQuerySet
from products.models.states import Format, ImageStatus, RequestStatus

__all__ = [
    "ApiToken",
    "Chunk",
    "Draft",
    "Format",
    "Image",
    "ImageStatus",
    "Output",
    "Product",
    "ProductImage",
    "ProductQuerySet",
    "Request",
    "RequestQuerySet",
    "RequestStatus",
]
