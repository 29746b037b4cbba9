"""URL of the source thumbnails that pages show for comparison."""

from django.urls import path

from processing.work.source_thumbnail import source_thumbnail

urlpatterns = [path("sources/<uuid:pk>/", source_thumbnail, name="source-thumbnail")]
