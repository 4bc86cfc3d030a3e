"""The secret key of pseudonyms: it comes from the environment and is written nowhere."""

from __future__ import annotations

import hashlib
import hmac
import os

from components.errors import ConfigRefused

KEY = "PLUMBLINE_IDENTITY_KEY"
LEAST_KEY = 32


def read() -> str:
    """The key; empty where there is none.

    Raises:
        ConfigRefused: It is too short.
    """
    key = os.environ.get(KEY, "")
    return require(key) if key else ""


def require(key: str) -> str:
    """A key that is long enough.

    Raises:
        ConfigRefused: It is missing or too short.
    """
    if len(key) < LEAST_KEY:
        message = (
            f"{KEY} holds {len(key)} characters; pseudonyms need a secret key of {LEAST_KEY} or more. Make one once with "
            "`openssl rand -hex 32`, keep it where secrets are kept, and set it for every import."
        )
        raise ConfigRefused(message)
    return key


def digest(text: str, *, key: str) -> str:
    """HMAC-SHA-256 of a text, in hex; without a key its SHA-256, which whoever guesses the text can check."""
    return (
        hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest() if key else hashlib.sha256(text.encode()).hexdigest()
    )


def name_of(key: str) -> str:
    """Tells keys apart without telling anything of them; empty for none."""
    return digest("which key", key=key)[:16] if key else ""
