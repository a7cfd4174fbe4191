"""Handles: the names under which a caller finds again what is kept for them."""

from __future__ import annotations

import secrets

_RANDOM_BYTES = 16


def new_handle(prefix: str) -> str:
    """Make a handle such as ``ses_8c2f…``: 128 random bits in hexadecimal, so it cannot be guessed or counted up to.

    Hexadecimal has no case and no punctuation, which a model or a person copying it would get wrong.
    """
    return f"{prefix}_{secrets.token_hex(_RANDOM_BYTES)}"
