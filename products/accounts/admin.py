"""Admin of users and API tokens."""

from typing import Any
from urllib.parse import urljoin

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from products.accounts.authentication import LOCAL_USER
from products.accounts.first_account import password_path
from products.accounts.models import ApiToken
from products.admin.base import ReadOnlyAdmin


class NewUserForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """A new user, who has no password before choosing one."""

    class Meta:
        model = User
        fields = ["username", "email"]

    def clean_username(self) -> str:
        """Refuse a name that differs from another in case only, as Django does for users with a password."""
        name: str = self.cleaned_data["username"]
        if User.objects.filter(username__iexact=name).exists():
            raise forms.ValidationError("A user with that username already exists.", "unique")
        return name

    def save(self, commit: bool = True) -> User:
        self.instance.set_unusable_password()
        user: User = super().save(commit)
        return user


def _is_superuser(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_superuser


def _may_touch(request: HttpRequest, obj: Model | None) -> bool:
    """Return whether a user is none of the staff, or the request is a superuser's."""
    return _is_superuser(request) or not (isinstance(obj, User) and (obj.is_staff or obj.is_superuser))


admin.site.unregister(User)


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]  # generic in the stubs only
    """Users choose their passwords themselves, on a page whose link is made here and shown once.

    Only superusers give rights, and change staff: whoever sets the password of a user has all rights of that
    user.
    """

    add_form = NewUserForm
    add_form_template = "admin/change_form.html"
    add_fieldsets = ((None, {"fields": ("username", "email")}),)
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Personal info", {"fields": ("first_name", "last_name", "email")}),
        ("Access", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Permissions", {"classes": ("collapse",), "fields": ("groups", "user_permissions")}),
        ("Important dates", {"classes": ("collapse",), "fields": ("last_login", "date_joined")}),
    )
    change_form_template = "admin/change_form_with_actions.html"

    class Media:
        css = {"all": ["products/admin.css"]}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        user = self.get_object(request, unquote(object_id))
        can_log_in = user is not None and user.is_active and user.get_username() != LOCAL_USER
        may_link = can_log_in and self.has_change_permission(request, user)
        if user and request.POST.get("action") == "link":
            if not may_link:
                raise PermissionDenied
            return self._password_link(request, user)
        actions = [("link", "Create link to set a password")] if may_link else []
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "row_actions": actions}
        )

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return _may_touch(request, obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return _may_touch(request, obj) and super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        return () if _is_superuser(request) else ("is_staff", "is_superuser", "groups", "user_permissions")

    def response_add(
        self, request: HttpRequest, obj: User, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._password_link(request, obj)

    def _password_link(self, request: HttpRequest, user: User) -> HttpResponse:
        """Show a new link in this response. A flash message would store it in a cookie or the session."""
        self.log_change(request, user, "Created a link to set a password.")
        context = {
            **self.admin_site.each_context(request),
            "title": f"Link for {user}",
            "new_user": user,
            "link": urljoin(settings.PUBLIC_URL, password_path(user)),
            "days": settings.PASSWORD_RESET_TIMEOUT // (24 * 60 * 60),
        }
        return TemplateResponse(request, "admin/password_link.html", context)


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Tokens are added and deleted, never changed. Only the page after adding one shows its key."""

    list_display = ["hint", "user", "name", "created_at", "last_used_at"]
    list_select_related = ["user"]
    search_fields = ["user__username", "name", "hint"]
    exclude = ["digest", "hint", "created_at", "last_used_at"]
    readonly_fields = ["hint", "created_at", "last_used_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return self.readonly_fields if obj else []

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.add_apitoken")

    def save_model(
        self, request: HttpRequest, obj: ApiToken, form: "ModelForm[ApiToken]", change: bool
    ) -> None:
        obj.set_key()
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the key in this response. A flash message would store it in a cookie or the session."""
        context = {**self.admin_site.each_context(request), "title": "New API token", "token": obj}
        return TemplateResponse(request, "admin/token_issued.html", context)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("accounts.delete_apitoken")
