"""Encrypt secrets for the database, with keys derived from SECRET_KEY.

For secrets that are needed again as they were, so that a hash would not do.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.crypto import salted_hmac


class UnreadableSecret(Exception):
    """The secret was encrypted neither under SECRET_KEY nor under one of SECRET_KEY_FALLBACKS."""


class Encryption:
    """Encrypts texts for one purpose. What was encrypted for another one cannot be decrypted."""

    def __init__(self, purpose: str) -> None:
        self._purpose = purpose

    def encrypt(self, secret: str) -> str:
        """Encrypt `secret` with a key derived from SECRET_KEY."""
        return self._keys().encrypt(secret.encode()).decode()

    def decrypt(self, encrypted: str) -> str:
        """Decrypt what was encrypted under SECRET_KEY or a key of SECRET_KEY_FALLBACKS.

        Raises UnreadableSecret.
        """
        try:
            return self._keys().decrypt(encrypted.encode()).decode()
        except InvalidToken as error:
            raise UnreadableSecret from error

    def _keys(self) -> MultiFernet:
        return MultiFernet([self._key(one) for one in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])

    def _key(self, secret_key: str) -> Fernet:
        digest = salted_hmac(self._purpose, "", secret=secret_key, algorithm="sha256").digest()
        return Fernet(base64.urlsafe_b64encode(digest))
