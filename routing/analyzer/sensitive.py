"""Whether a text holds a secret or somebody's personal data. What it is gets named; the text of it is never repeated."""

from __future__ import annotations

import re

LOOKED_AT = 50_000
"""Characters at either end that are looked at: the search holds up the event loop for at most some 30 ms."""

# Kind, what a text must hold (lower case) for the search to be worth its time, and the pattern.
_PATTERNS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = (
    ("a private key", ("private key",), re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")),
    (
        "an API key",
        ("sk-", "akia", "gh", "glpat", "xox", "aiza", "hf_", "k_live_", "k_test_", "eyj"),
        re.compile(
            r"\b(?:sk-[A-Za-z0-9_-]{16,}+|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}+|github_pat_\w{30,}+|glpat-[\w-]{16,}+"
            r"|xox[abprs]-[\w-]{10,}+|AIza[\w-]{30,}+|hf_[A-Za-z0-9]{30,}+|[rsp]k_(?:live|test)_\w{16,}+"
            r"|eyJ[\w-]{10,}+\.eyJ[\w-]{10,}+)"
        ),
    ),
    (
        "a password",
        ("passw", "pwd", "secret", "key", "token", "contrase", "clave", "mot de passe", "senha"),
        re.compile(
            r"\b(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?token|auth[_-]?token|contrase[ñn]a|clave|mot de passe"
            r"|passwort|senha)[\"']?[ \t]{0,3}(?:[:=]|is|es)[ \t]{0,3}[\"']?"
            # With a digit or a sign in it: `password: string` is a type.
            r"(?=[^\s\"']{0,63}[\d!@#%&*?])[^\s\"'<>{}()\[\]$]{6,64}",
            re.IGNORECASE,
        ),
    ),
    ("a national id", ("-",), re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")),
)
_DIGIT = re.compile(r"\d")
_CARD = re.compile(
    r"(?<![\d.-])\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}(?![\d-])|(?<![\d.-])3[47]\d{2}[ -]?\d{6}[ -]?\d{5}(?![\d-])"
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_DNI = re.compile(r"\b\d{8}-?[A-Z]\b")
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_EMAIL = re.compile(r"(?<=[\w+-])@[\w-]{1,63}\.[a-z]{2,6}", re.IGNORECASE)
_PHONE = re.compile(
    # Not a date.
    r"(?<![\w.-])(?!(?:19|20)\d\d[-./])"
    r"(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,4}\)[ .-]?)?\d{2,4}[ .-]\d{2,4}[ .-]?\d{2,4}(?:[ .-]?\d{2,4})?(?![\w-])"
)
_LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_CARD_DIGITS = range(13, 20)
_PHONE_DIGITS = 9


def sensitive_in(text: str) -> tuple[str, ...]:
    """The kinds of sensitive matter in a text, named without quoting it."""
    looked_at = text if len(text) <= 2 * LOOKED_AT else f"{text[:LOOKED_AT]}\n{text[-LOOKED_AT:]}"
    lowered = looked_at.lower()
    kinds = [
        kind
        for kind, needles, pattern in _PATTERNS
        if any(needle in lowered for needle in needles) and pattern.search(looked_at)
    ]
    if not _DIGIT.search(looked_at):
        return tuple(kinds)  # all that follows has digits
    if any(_is_card(match[0]) for match in _CARD.finditer(looked_at)):
        kinds.append("a card number")
    if any(_is_iban(match[0]) for match in _IBAN.finditer(looked_at)):
        kinds.append("a bank account")
    if any(_is_dni(match[0]) for match in _DNI.finditer(looked_at)):
        kinds.append("a national id")
    if _EMAIL.search(looked_at) and any(_is_phone(match[0]) for match in _PHONE.finditer(looked_at)):
        kinds.append("contact details")
    return tuple(dict.fromkeys(kinds))


def _is_card(text: str) -> bool:
    """The check digit of ISO/IEC 7812 (Luhn)."""
    digits = [int(character) for character in text if character.isdigit()]
    checksum = sum(digits[-1::-2]) + sum(_LUHN_DOUBLED[digit] for digit in digits[-2::-2])
    return len(digits) in _CARD_DIGITS and len(set(digits)) > 1 and checksum % 10 == 0


def _is_phone(text: str) -> bool:
    return sum(character.isdigit() for character in text) >= _PHONE_DIGITS


def _is_iban(text: str) -> bool:
    """The check of ISO 13616: moved to the end and read as a number, it leaves 1 when divided by 97."""
    compact = text.replace(" ", "")
    number = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return int(number) % 97 == 1


def _is_dni(text: str) -> bool:
    """Spain's identity number: its letter is the number's remainder by 23."""
    return _DNI_LETTERS[int(text[:8]) % len(_DNI_LETTERS)] == text[-1]
