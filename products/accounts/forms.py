"""Forms for login, password changes and API tokens."""

from typing import Any, cast

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from products.accounts.login_limit import count_login
from products.accounts.models import ApiToken, MailChoices
from products.throttling import LimitReached


class RateLimitedForm:
    """Mixin for forms that check a password. `limit` is set by cleaning after too many attempts."""

    limit: LimitReached | None = None

    def count_attempt(self, request: HttpRequest, name: str) -> None:
        """Count an attempt before the password is checked. Raises ValidationError above the limit."""
        try:
            count_login(request, name)
        except LimitReached as error:
            self.limit = error
            raise ValidationError(error.detail, error.code) from error


class LoginForm(RateLimitedForm, AuthenticationForm):
    """User name and password."""

    def clean(self) -> dict[str, Any]:
        self.count_attempt(cast(HttpRequest, self.request), self.cleaned_data.get("username", ""))
        return super().clean()


class PasswordForm(RateLimitedForm, PasswordChangeForm):
    """The old password, and the new one twice.

    The old password counts as a login attempt, so that an unattended session does not help to guess it.
    """

    revoke_tokens = forms.BooleanField(required=False)

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        self.tokens = ApiToken.objects.filter(user=self.user.pk)
        if count := self.tokens.count():
            tokens = "API token" if count == 1 else f"{count} API tokens"
            self.fields["revoke_tokens"].label = f"Also revoke my {tokens}"
        else:
            del self.fields["revoke_tokens"]

    def clean_old_password(self) -> str:
        self.count_attempt(self.request, self.user.get_username())
        return super().clean_old_password()

    def save(self, commit: bool = True) -> User:
        """Save the new password, and revoke the user's API tokens if asked to."""
        with transaction.atomic():
            if self.cleaned_data.get("revoke_tokens"):
                self.tokens.delete()
            return super().save(commit)


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """The name of a new API token."""

    class Meta:
        model = ApiToken
        fields = ["name"]


class MailForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """The occasions on which the user wants an e-mail."""

    class Meta:
        model = MailChoices
        fields = ["finished", "finished_with_errors", "feed_failed"]
        labels = {
            "finished": "A request has finished",
            "finished_with_errors": "A request has finished with errors",
            "feed_failed": "A feed has failed, is held or is late",
        }
