"""URLs of login, password and API tokens."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from products.accounts import pages

urlpatterns = [
    path("account/", pages.account, name="account"),
    path("account/tokens/", pages.issue_token, name="token-issue"),
    path("account/tokens/<int:pk>/revoke/", pages.revoke_token, name="token-revoke"),
    path("account/mail/", pages.choose_mail, name="mail-choices"),
    path("account/password/", pages.PasswordView.as_view(), name="password"),
    path("account/setup/<uidb64>/<token>/", pages.SetupView.as_view(), name="account-setup"),
    path("login/", pages.LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(next_page="home"), name="logout"),
]
