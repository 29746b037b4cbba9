"""Encrypt secrets for the database, with keys derived from SECRET_KEY.

They cannot be stored as hashes, because every delivery is signed with them.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.crypto import salted_hmac

SALT = "processing.webhooks.secrets"


class UnreadableSecret(Exception):
    """The secret was encrypted neither under SECRET_KEY nor under one of SECRET_KEY_FALLBACKS."""


def encrypt(secret: str) -> str:
    """Encrypt `secret` with a key derived from SECRET_KEY."""
    return _keys().encrypt(secret.encode()).decode()


def decrypt(encrypted: str) -> str:
    """Decrypt what was encrypted under SECRET_KEY or one of SECRET_KEY_FALLBACKS. Raises UnreadableSecret."""
    try:
        return _keys().decrypt(encrypted.encode()).decode()
    except InvalidToken as error:
        raise UnreadableSecret from error


def _keys() -> MultiFernet:
    return MultiFernet([_key(secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _key(secret_key: str) -> Fernet:
    digest = salted_hmac(SALT, "", secret=secret_key, algorithm="sha256").digest()
    return Fernet(base64.urlsafe_b64encode(digest))
