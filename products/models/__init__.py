"""Catalogues in the database: Requests, their Products and distinct Images, and Drafts.

Models have rows and queries; `products.lifecycle` has the workflow.
"""

from products.models.draft import Draft
from products.models.image import Image, Rendition
from products.models.product import Product, ProductImage, ProductQuerySet
from products.models.profile import Profile
from products.models.recipes import Effort, Fit, Names
from products.models.request import Request, RequestQuerySet, Run
from products.models.states import Format, ImageStatus, RequestStatus, RunOrigin

__all__ = [
    "Draft",
    "Effort",
    "Fit",
    "Format",
    "Image",
    "ImageStatus",
    "Names",
    "Product",
    "ProductImage",
    "ProductQuerySet",
    "Profile",
    "Rendition",
    "Request",
    "RequestQuerySet",
    "RequestStatus",
    "Run",
    "RunOrigin",
]
