"""The first account of an installation: by ADMIN_EMAIL and ADMIN_PASSWORD, or by a link that works once."""

from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX, make_password
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

#: The user name of the first administrator where ADMIN_EMAIL is not set.
DEFAULT_NAME = "admin"


def make_first_account() -> str | None:
    """Create an administrator if no user has a password.

    Without ADMIN_PASSWORD, return the path of a page on which to choose one. The link ends with its use, and
    after PASSWORD_RESET_TIMEOUT. Raises ImproperlyConfigured for a password that is too weak.
    """
    if User.objects.exclude(password__startswith=UNUSABLE_PASSWORD_PREFIX).exists():
        return None
    email = settings.ADMIN_EMAIL or ""
    if settings.ADMIN_PASSWORD:
        _check_password(settings.ADMIN_PASSWORD, User(username=email, email=email))
    user, _created = User.objects.get_or_create(
        username=email or DEFAULT_NAME,
        defaults={
            "email": email,
            "password": make_password(None),
            "is_staff": True,
            "is_superuser": True,
        },
    )
    if settings.ADMIN_PASSWORD:
        user.set_password(settings.ADMIN_PASSWORD)
        user.save(update_fields=["password"])
        return None
    return password_path(user)


def password_path(user: User) -> str:
    """Return the path of a page on which this user chooses a password and is logged in.

    It works once, until the user logs in or changes the password, and no longer than PASSWORD_RESET_TIMEOUT.
    """
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    return reverse("account-setup", args=[uid, default_token_generator.make_token(user)])


def _check_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise ImproperlyConfigured(f"ADMIN_PASSWORD is refused: {' '.join(error.messages)}") from error
