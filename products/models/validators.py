"""Validators for fields of models, forms and serializers."""

from django.core.exceptions import ValidationError

from products.catalogue import url_problem


def validate_http_url(url: str) -> None:
    """Raise ValidationError with code `invalid_url` unless `url` is an http(s) URL that can be requested."""
    if problem := url_problem(url):
        raise ValidationError(problem, "invalid_url")
