"""Pages for login, the account, its password and its API tokens."""

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
from products.accounts.forms import LoginForm, MailForm, PasswordForm, TokenForm
from products.accounts.models import ApiToken, MailChoices

MAX_TOKENS = 100


class LoginView(views.LoginView):
    """The login page. Answers 429 after too many attempts."""

    template_name = "accounts/login.html"
    authentication_form = LoginForm

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Lead users on who are logged in, unless a page has sent them that they may not open."""
        is_logged_in = request.user.is_authenticated and request.user.has_usable_password()
        if is_logged_in and self.redirect_field_name not in request.GET:
            return redirect(self.get_default_redirect_url())
        return super().get(request, *args, **kwargs)

    def form_invalid(self, form: LoginForm) -> HttpResponse:  # type: ignore[override]  # the form is ours
        response = super().form_invalid(form)
        return form.limit.mark(response) if form.limit else response


class PasswordView(views.PasswordChangeView):
    """The page to change the user's own password. Answers 429 after too many attempts at the old one."""

    template_name = "accounts/password.html"
    form_class = PasswordForm
    success_url = reverse_lazy("account")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer 404 to users without a password, such as the one of OPEN_ACCESS."""
        if request.user.is_authenticated and not request.user.has_usable_password():
            raise Http404
        return super().dispatch(request, *args, **kwargs)

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"request": self.request}

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        """Save the new password. Django ends the user's other sessions."""
        text = "Password changed. You have been logged out on all other devices."
        if form.cleaned_data.get("revoke_tokens"):
            text += " Your API tokens have been revoked."
        messages.success(self.request, text)
        return super().form_valid(form)

    def form_invalid(self, form: PasswordForm) -> HttpResponse:  # type: ignore[override]  # the form is ours
        response = super().form_invalid(form)
        return form.limit.mark(response) if form.limit else response


class SetupView(views.PasswordResetConfirmView):
    """The page to choose a password, behind a link that works once.

    The log shows such a link while nobody can log in; later ones are made in the admin.
    """

    template_name = "accounts/setup.html"
    success_url = reverse_lazy("home")
    post_reset_login = True

    def render_to_response(self, context: dict[str, Any], **response_kwargs: Any) -> HttpResponse:
        return super().render_to_response(context, status=200 if self.validlink else 404, **response_kwargs)


@require_safe
@login_required
def account(request: UserRequest) -> HttpResponse:
    """The account page with the user's API tokens."""
    return _account_page(request, TokenForm())


@require_POST
@login_required
@sensitive_variables("key")
def issue_token(request: UserRequest) -> HttpResponse:
    """Create a token and show its key. This response is the only place where the key appears."""
    form = TokenForm(request.POST)
    if ApiToken.objects.filter(user=request.user.pk).count() >= MAX_TOKENS:
        form.add_error("name", f"You have reached the limit of {MAX_TOKENS} tokens. Revoke one first.")
    if not form.is_valid():
        return _account_page(request, form, status=400)
    key = ApiToken.objects.issue(request.user, form.cleaned_data["name"])
    return _account_page(request, TokenForm(), key=key)


@require_POST
@login_required
def revoke_token(request: UserRequest, pk: int) -> HttpResponse:
    """Delete one of the user's tokens. Programs that send it are refused from then on."""
    token = get_object_or_404(ApiToken.objects.filter(user=request.user.pk), pk=pk)
    token.delete()
    messages.success(request, f"Token {token} revoked.")
    return redirect("account")


@require_POST
@login_required
def choose_mail(request: UserRequest) -> HttpResponse:
    """Save the occasions on which the user wants an e-mail."""
    choices, _ = MailChoices.objects.get_or_create(user=request.user)
    MailForm(request.POST, instance=choices).save()
    messages.success(request, "E-mail choices saved.")
    return redirect("account")


def _account_page(request: HttpRequest, form: TokenForm, *, key: str = "", status: int = 200) -> HttpResponse:
    tokens = ApiToken.objects.filter(user=request.user.pk)
    choices = MailChoices.objects.filter(user=request.user.pk).first()
    mail_form = MailForm(instance=choices)
    context = {"form": form, "key": key, "tokens": tokens, "mail_form": mail_form}
    return render(request, "accounts/account.html", context, status=status)
