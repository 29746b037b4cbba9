from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "products.accounts"
    label = "accounts"
    verbose_name = "Accounts"
