"""Patterns of personal data in texts: e-mail addresses, telephone numbers, bank accounts, payment cards, network addresses.

A cheap expression finds candidates; a library says which are real: phonenumbers (Google's tables of numbering plans),
python-stdnum (check digits of IBANs and cards), ipaddress. What is found is counted and located, never copied.
What it does not cover: names, addresses of streets, and whatever is only personal in its context. Numbers that look right by
chance are found too.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, NamedTuple

import phonenumbers
from stdnum import iban, luhn

if TYPE_CHECKING:
    from collections.abc import Iterator

MAYBE = re.compile(
    r"@|\d(?:[\s().:/-]*\d){5}|\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[A-Z]{2}\d{2}[ \dA-Z]{11}|[0-9a-fA-F]:{1,2}[0-9a-fA-F]"
)
"""A text without any of these holds nothing of what is looked for; most don't."""
EMAIL = re.compile(r"[A-Za-z0-9._%+'-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b")
CARD = re.compile(r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])")
ADDRESS = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:]|\.\d)")
NOBODYS = ("example.com", "example.org", "example.net", ".example", ".invalid", ".test", "localhost")
"""Endings of addresses that belong to nobody, https://www.rfc-editor.org/rfc/rfc2606"""


class Found(NamedTuple):
    """Where a text holds a pattern."""

    kind: str
    start: int
    end: int


def find(text: str, *, region: str) -> list[Found]:
    """What a text holds, in order; a place counts for one kind.

    Args:
        text: Any text.
        region: Country (ISO 3166, two letters) whose telephone numbers are also known without +.
    """
    if not MAYBE.search(text):
        return []
    taken: list[Found] = []
    for found in _candidates(text, region):
        if all(found.end <= other.start or found.start >= other.end for other in taken):
            taken.append(found)
    return sorted(taken, key=lambda found: found.start)


def _candidates(text: str, region: str) -> Iterator[Found]:
    """The surer kinds first."""
    for match in EMAIL.finditer(text):
        if not match.group().lower().endswith(NOBODYS):
            yield Found("email", *match.span())
    for match in IBAN.finditer(text):
        if iban.is_valid(match.group(), check_country=False):
            yield Found("iban", *match.span())
    for match in CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if digits[0] in "3456" and luhn.is_valid(digits):
            yield Found("card", *match.span())
    for match in ADDRESS.finditer(text):
        if _is_public(match.group()):
            yield Found("network address", *match.span())
    for number in phonenumbers.PhoneNumberMatcher(text, region):
        yield Found("telephone", number.start, number.end)


def _is_public(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False
