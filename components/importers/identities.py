"""Who labelled, under a pseudonym: a keyed hash, so that nobody without the key can try names out.

The key comes from the environment and is written nowhere. The same key gives a person the same pseudonym in every import, which
erasure needs; another key makes strangers of everybody.
What it does not cover: identities of fewer than four characters or of digits alone are hashed like others, but can't be looked
for in texts, where they would be found everywhere.
"""

from __future__ import annotations

import os
import re
import unicodedata

from components import identitykey

SEARCHED = 4
"""Identities of at least this many characters are looked for in what is written."""
WORD = re.compile(r"[^\W_]+")


class Identities:
    """Pseudonyms by key, and a search for identities in texts."""

    def __init__(self, key: str) -> None:
        """Take the key.

        Raises:
            ConfigRefused: It is missing or too short.
        """
        self._key = identitykey.require(key)
        self._by_word: dict[str, set[str]] = {}

    @classmethod
    def from_environment(cls) -> Identities:
        """With the key that the environment holds.

        Raises:
            ConfigRefused: It holds none, or one that is too short.
        """
        return cls(os.environ.get(identitykey.KEY, ""))

    def pseudonym(self, identity: str, *, kind: str = "a") -> str:
        """`a-HEX`: HMAC-SHA-256 of an identity, 128 bits of it. Case and spaces around it don't count."""
        return f"{kind}-{identitykey.digest(f'{kind}:{_plain(identity)}', key=self._key)[:32]}"

    def remember(self, identity: str) -> None:
        """Look for this identity in texts from now on."""
        plain = _plain(identity)
        words = WORD.findall(plain)
        if len(plain) >= SEARCHED and not plain.isdigit() and words:
            self._by_word.setdefault(words[0], set()).add(plain)

    def named_in(self, text: str) -> bool:
        """Does a text hold one of the remembered identities?"""
        plain = _plain(text)
        words = set(WORD.findall(plain)) & self._by_word.keys() if self._by_word else set()
        return any(_stands_alone(identity, plain) for word in words for identity in self._by_word[word])


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _stands_alone(identity: str, text: str) -> bool:
    """Not as a part of another word."""
    return re.search(rf"(?<![^\W_]){re.escape(identity)}(?![^\W_])", text) is not None
