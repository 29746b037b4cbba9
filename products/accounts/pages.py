"""Logging in, and the pages of a user's own."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import views
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import PasswordChangeForm
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST, require_safe

from products.accounts.authentication import UserRequest
from products.accounts.forms import CountsAttempts, LoginForm, PasswordForm, TokenForm
from products.accounts.models import ApiToken

MAX_TOKENS = 100


class LoginView(views.LoginView):
    """Name and password. Too many attempts are answered with 429."""

    template_name = "accounts/login.html"
    authentication_form = LoginForm

    def form_invalid(self, form: LoginForm) -> HttpResponse:  # type: ignore[override]  # the form is ours
        return _answer_to(form, super().form_invalid(form))


class PasswordView(views.PasswordChangeView):
    """Change one's own password, by the old one, which may be tried as often as at the login."""

    template_name = "accounts/password.html"
    form_class = PasswordForm
    success_url = reverse_lazy("account")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Who has no password, as the user of OPEN_ACCESS, has nothing to change here."""
        if request.user.is_authenticated and not request.user.has_usable_password():
            raise Http404
        return super().dispatch(request, *args, **kwargs)

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"request": self.request}

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        """Set it. Sessions elsewhere end by it, as Django has it."""
        text = "The password is changed. Wherever else you were logged in, you no longer are."
        messages.success(self.request, text)
        return super().form_valid(form)

    def form_invalid(self, form: PasswordForm) -> HttpResponse:  # type: ignore[override]  # the form is ours
        return _answer_to(form, super().form_invalid(form))


@require_safe
@login_required
def account(request: UserRequest) -> HttpResponse:
    """The user's API tokens."""
    return _page(request, TokenForm())


@require_POST
@login_required
@sensitive_variables("key")
def issue_token(request: UserRequest) -> HttpResponse:
    """Make a token. This answer shows its key, and nothing shows it again."""
    form = TokenForm(request.POST)
    if ApiToken.objects.filter(user=request.user.pk).count() >= MAX_TOKENS:
        form.add_error("name", f"You have {MAX_TOKENS} tokens. Revoke one first.")
    if not form.is_valid():
        return _page(request, form, status=400)
    key = ApiToken.objects.issue(request.user, form.cleaned_data["name"])
    return _page(request, TokenForm(), key=key)


@require_POST
@login_required
def revoke_token(request: UserRequest, pk: int) -> HttpResponse:
    """Delete one of the user's tokens: it is refused from now on."""
    token = get_object_or_404(ApiToken.objects.filter(user=request.user.pk), pk=pk)
    token.delete()
    messages.success(request, f"The token {token} is revoked.")
    return redirect("account")


def _answer_to(form: CountsAttempts, response: HttpResponse) -> HttpResponse:
    """The page, as 429 if there were too many attempts."""
    return form.limit.mark(response) if form.limit else response


def _page(request: HttpRequest, form: TokenForm, *, key: str = "", status: int = 200) -> HttpResponse:
    tokens = ApiToken.objects.filter(user=request.user.pk)
    return render(
        request, "accounts/account.html", {"form": form, "key": key, "tokens": tokens}, status=status
    )
