"""URLs of the upload form, requests and their pictures."""

from django.urls import path, re_path

from products.pages import failures, pictures, profiles, requests, upload

urlpatterns = [
    path("", upload.home, name="home"),
    path("drafts/<uuid:pk>/", upload.draft, name="draft"),
    path("requests/", requests.requests, name="requests"),
    path("requests/<uuid:pk>/", requests.request_page, name="request"),
    path("requests/<uuid:pk>/progress/", requests.request_progress, name="request-progress"),
    path("requests/<uuid:pk>/products/", requests.request_products, name="request-products"),
    path("requests/<uuid:pk>/causes/", requests.request_causes, name="request-causes"),
    path("requests/<uuid:pk>/failures/", failures.failures, name="request-failures"),
    path("requests/<uuid:pk>/failures/replace/", failures.replace, name="request-replace"),
    path("requests/<uuid:pk>/failures/corrections/", failures.corrections, name="request-corrections"),
    path("requests/<uuid:pk>/failures/<uuid:image>/", failures.fetch_from, name="request-fetch-from"),
    path("requests/<uuid:pk>/retry/", requests.retry, name="request-retry"),
    path("requests/<uuid:pk>/cancel/", requests.cancel, name="request-cancel"),
    path("requests/<uuid:pk>/details/", requests.details, name="request-details"),
    path("requests/<uuid:pk>/repeat/", requests.repeat, name="request-repeat"),
    path("requests/<uuid:pk>/delete/", requests.delete, name="request-delete"),
    path("requests/<uuid:pk>/profile/", profiles.save_from_request, name="request-profile"),
    path("profiles/", profiles.profiles, name="profiles"),
    path("profiles/<uuid:pk>/", profiles.profile, name="profile"),
    path("profiles/<uuid:pk>/copy/", profiles.copy, name="profile-copy"),
    path("profiles/<uuid:pk>/delete/", profiles.delete, name="profile-delete"),
    path("profiles/<uuid:pk>/publish/", profiles.publish, name="profile-publish"),
    path("thumbnails/<uuid:pk>/", pictures.thumbnail, name="thumbnail"),
    path("images/<uuid:pk>", pictures.image, name="image"),
    path("images/<uuid:pk>/<slug:name>", pictures.rendition, name="rendition"),
    re_path(r"^media/(?P<key>images/[0-9a-f]{2}/[0-9a-f]+\.[a-z]+)$", pictures.media),
    re_path(r"^media/(?P<key>images/[0-9a-f]{2}/[0-9a-f]+/[a-z0-9-]+\.[a-z]+)$", pictures.media),
]
