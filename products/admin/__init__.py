"""What staff see: everything, read-only. What they may do to rows are actions.

Requests are registered by processing.webhooks.admin, which adds to their page what products know nothing of.
"""

from django.contrib import admin

from products.admin import rows  # noqa: F401 (registers)

admin.site.site_header = admin.site.site_title = "Image Extractor"
admin.site.index_title = "Overview"
# The lists need the width.
admin.site.enable_nav_sidebar = False
