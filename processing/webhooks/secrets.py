"""Secrets as they are kept in the database: encrypted with keys that follow from SECRET_KEY.

They cannot be kept as hashes, since every delivery is signed with them.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.crypto import salted_hmac

SALT = "processing.webhooks.secrets"


class SealBroken(Exception):
    """What was sealed cannot be read: neither SECRET_KEY nor one of SECRET_KEY_FALLBACKS sealed it."""


def seal(text: str) -> str:
    """`text`, encrypted with a key that follows from SECRET_KEY."""
    return _keys().encrypt(text.encode()).decode()


def unseal(sealed: str) -> str:
    """What was sealed under SECRET_KEY or one of SECRET_KEY_FALLBACKS. Raises SealBroken."""
    try:
        return _keys().decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise SealBroken from error


def _keys() -> MultiFernet:
    return MultiFernet([_key(secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _key(secret: str) -> Fernet:
    digest = salted_hmac(SALT, "", secret=secret, algorithm="sha256").digest()
    return Fernet(base64.urlsafe_b64encode(digest))
