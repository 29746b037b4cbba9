"""The admin: staff can view everything and change rows by actions only.

processing.webhooks.admin registers Requests, since it adds webhooks to their pages.
"""

from django.contrib import admin

from products.admin import profiles, rows  # noqa: F401 (register)

admin.site.site_header = admin.site.site_title = "Image Extractor"
admin.site.index_title = "Overview"
# The wide lists need its space.
admin.site.enable_nav_sidebar = False
