"""Forms for logging in, changing the password and issuing API tokens."""

from typing import Any, cast

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from products.accounts.login_limit import count_login
from products.accounts.models import ApiToken
from products.rate_limit import LimitReached


class CountsAttempts:
    """A form that takes a password. `limit` says, after cleaning, that there were too many attempts."""

    limit: LimitReached | None = None

    def count_attempt(self, request: HttpRequest, name: str) -> None:
        """Call this before the password is looked at; too many attempts are an error of the form's."""
        try:
            count_login(request, name)
        except LimitReached as error:
            self.limit = error
            raise ValidationError(error.detail, error.code) from error


class LoginForm(CountsAttempts, AuthenticationForm):
    """Name and password."""

    def clean(self) -> dict[str, Any]:
        """Count the attempt, then log in."""
        self.count_attempt(cast(HttpRequest, self.request), self.cleaned_data.get("username", ""))
        return super().clean()


class PasswordForm(CountsAttempts, PasswordChangeForm):
    """The old password, and the new one twice."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_old_password(self) -> str:
        """Whoever sits down before somebody's open page may guess no more often than at the login."""
        self.count_attempt(self.request, self.user.get_username())
        return super().clean_old_password()


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """A new token."""

    class Meta:
        model = ApiToken
        fields = ["name"]
