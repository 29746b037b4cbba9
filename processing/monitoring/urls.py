"""Endpoints for monitoring."""

from django.urls import path

from processing.monitoring import views

urlpatterns = [
    path("healthz", views.healthz),
    path("readyz", views.readyz),
    path("metrics", views.MetricsView.as_view()),
]
