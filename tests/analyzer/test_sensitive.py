"""Secrets and personal data are noticed, and look-alikes are not."""

from __future__ import annotations

import pytest

from routing.analyzer.sensitive import LOOKED_AT, sensitive_in


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("token sk-proj-abcDEF1234567890abcDEF", "an API key"),
        ("AKIAIOSFODNN7EXAMPLE", "an API key"),
        ("ghp_" + "a1" * 18, "an API key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "a private key"),
        ("password=hunter22", "a password"),
        ('"api_key": "9f8e7d6c5b4a"', "a password"),
        ("la contraseña es Primavera2024", "a password"),
        ("pay with 4111 1111 1111 1111", "a card number"),
        ("378282246310005", "a card number"),
        ("IBAN ES91 2100 0418 4502 0005 1332", "a bank account"),
        ("DE89370400440532013000", "a bank account"),
        ("SSN 123-45-6789", "a national id"),
        ("mi DNI es 12345678Z", "a national id"),
        ("Ana, ana@example.com, +34 600 123 456", "contact details"),
    ],
)
def test_a_secret_is_named_by_its_kind(text: str, kind: str) -> None:
    assert sensitive_in(text) == (kind,)


@pytest.mark.parametrize(
    "text",
    [
        "how do I keep an API key safe?",
        "the password is required",
        "class Login:\n    password: string",
        "password = os.environ['DB_PASSWORD']",
        "4111 1111 1111 1112",
        "order 1234567890123456",
        "0000 0000 0000 0000",
        "ES91 2100 0418 4502 0005 1333",
        "12345678A",
        "write to ana@example.com",
        "on 2024-01-02 10:20 a@example.com wrote",
        "call 600 123 456",
        "000-12-3456",
    ],
)
def test_what_only_looks_like_a_secret_is_not_one(text: str) -> None:
    assert sensitive_in(text) == ()


def test_both_ends_of_a_long_text_are_looked_at() -> None:
    filler = "word " * LOOKED_AT
    assert sensitive_in("password=hunter22 " + filler) == ("a password",)
    assert sensitive_in(filler + " password=hunter22") == ("a password",)
