"""URLs of the upload form, requests and their pictures."""

from django.urls import path, re_path

from products.pages import design, failures, gallery, pictures, requests, shared, tabs, upload

urlpatterns = [
    path("", upload.home, name="home"),
    path("drafts/<uuid:pk>/", upload.draft, name="draft"),
    path("requests/", requests.requests, name="requests"),
    path("requests/bulk/", requests.bulk, name="requests-bulk"),
    path("requests/<uuid:pk>/", tabs.overview, name="request"),
    path("requests/<uuid:pk>/progress/", tabs.progress, name="request-progress"),
    path("requests/<uuid:pk>/pictures/", gallery.pictures, name="request-pictures"),
    path("requests/<uuid:pk>/pictures/<uuid:image>/", gallery.picture, name="picture"),
    path("requests/<uuid:pk>/products/", tabs.products, name="request-products"),
    path("requests/<uuid:pk>/causes/", tabs.causes, name="request-causes"),
    path("requests/<uuid:pk>/changes/", tabs.changes, name="request-changes"),
    path("requests/<uuid:pk>/runs/", tabs.runs, name="request-runs"),
    path("requests/<uuid:pk>/deliveries/", tabs.deliveries, name="request-deliveries"),
    path("requests/<uuid:pk>/failures/", failures.failures, name="request-failures"),
    path("requests/<uuid:pk>/failures/replace/", failures.replace, name="request-replace"),
    path("requests/<uuid:pk>/failures/corrections/", failures.corrections, name="request-corrections"),
    path("requests/<uuid:pk>/failures/<uuid:image>/", failures.fetch_from, name="request-fetch-from"),
    path("requests/<uuid:pk>/retry/", requests.retry, name="request-retry"),
    path("requests/<uuid:pk>/cancel/", requests.cancel, name="request-cancel"),
    path("requests/<uuid:pk>/details/", requests.details, name="request-details"),
    path("requests/<uuid:pk>/repeat/", requests.repeat, name="request-repeat"),
    path("requests/<uuid:pk>/delete/", requests.delete, name="request-delete"),
    path("requests/<uuid:pk>/share/", shared.share, name="request-share"),
    path("share/<uuid:pk>/<slug:key>/", shared.shared, name="shared"),
    path("share/<uuid:pk>/<slug:key>/results.csv", shared.shared_csv, name="shared-csv"),
    path("share/<uuid:pk>/<slug:key>/images.zip", shared.shared_zip, name="shared-zip"),
    path("thumbnails/<uuid:pk>/", pictures.thumbnail, name="thumbnail"),
    path("outputs/<uuid:pk>/", pictures.output, name="output"),
    path("images/<uuid:pk>", pictures.image, name="image"),
    path("images/<uuid:pk>/<slug:name>", pictures.rendition, name="rendition"),
    path("design/", design.design, name="design"),
    re_path(r"^media/(?P<key>images/[0-9a-f]{2}/[0-9a-f]+\.[a-z]+)$", pictures.media),
    re_path(r"^media/(?P<key>images/[0-9a-f]{2}/[0-9a-f]+/[a-z0-9-]+\.[a-z]+)$", pictures.media),
]
