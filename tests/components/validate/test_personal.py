from __future__ import annotations

import pytest

from components.validate.personal import find


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Write to ann.miller@mail-box.co.uk today.", ["email"]),
        ("Call +49 30 901820 or (212) 555-2368.", ["telephone", "telephone"]),
        ("My account is DE89 3704 0044 0532 0130 00.", ["iban"]),
        ("Card 4111 1111 1111 1111, please.", ["card"]),
        ("Logged in from 8.8.8.8 and 2001:4860:4860::8888.", ["network address", "network address"]),
        ("ann@mail.de 4111-1111-1111-1111", ["email", "card"]),
    ],
)
def test_what_is_personal_is_found(text: str, kinds: list[str]) -> None:
    assert [found.kind for found in find(text, region="US")] == kinds


@pytest.mark.parametrize(
    "text",
    [
        "What is 1234567 plus 7654321?",
        "Write to somebody@example.com.",
        "DE88 3704 0044 0532 0130 00 has a wrong check digit.",
        "4111 1111 1111 1112 has one too.",
        "The network 192.168.1.1 is nobody's, and version 1.2.3.4.5 is none.",
        "Between 10:30:15 and 11:45:00 on 2026-11-21.",
        "Call me at @home.",
        "Call (212) 555.",
    ],
)
def test_what_only_looks_like_it_is_not(text: str) -> None:
    assert find(text, region="US") == []


def test_a_finding_is_a_place_and_no_text() -> None:
    (found,) = find("To ann@mail.de.", region="US")

    assert found == ("email", 3, 14)


def test_national_numbers_are_those_of_the_region() -> None:
    assert find("030 901820", region="US") == []
    assert [found.kind for found in find("030 901820", region="DE")] == ["telephone"]
