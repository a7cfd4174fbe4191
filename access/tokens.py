"""Bearer tokens of our own: 256 random bits each, told once, and kept as their SHA-256 in a file that only its owner reads.

A hash without salt or stretching is enough for what nobody can guess. The file is read again whenever it has changed, so a
token that is revoked at the terminal is refused by the server that runs.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from routing.errors import InvalidTask, SettingsError

PREFIX = "pm_"
_TOKEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptToken:
    """What is kept of a token; ``created_at`` is Unix time."""

    name: str
    sha256: str
    created_at: float


class TokenFile:
    """The tokens in ``path``, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._kept: tuple[KeptToken, ...] = ()

    def add(self, name: str, now: float) -> str:
        """Make a token for ``name``. It is returned here and nowhere else.

        Raises:
            InvalidTask: the name is none, or has a token already.
            SettingsError: the file cannot be read.

        """
        if not _NAME.fullmatch(name):
            raise InvalidTask(f"{name!r} is no name for a token: up to 64 letters, digits and . _ @ - are.")
        kept = self.kept()
        if any(row.name == name for row in kept):
            raise InvalidTask(f"{name} has a token. Revoke it first, or choose another name.")
        token = PREFIX + secrets.token_urlsafe(32)
        self._write([*kept, KeptToken(name=name, sha256=_hash_of(token), created_at=now)])
        return token

    def revoke(self, name: str) -> None:
        """Forget the token of ``name``.

        Raises:
            InvalidTask: there is none.
            SettingsError: the file cannot be read.

        """
        kept = self.kept()
        rest = [row for row in kept if row.name != name]
        if len(rest) == len(kept):
            raise InvalidTask(f"{name} has no token. `token list` shows who has.")
        self._write(rest)

    def kept(self) -> tuple[KeptToken, ...]:
        """The tokens, in the order in which they were made.

        Raises:
            SettingsError: the file cannot be read, or is not what `add` wrote.

        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._seen, self._kept = None, ()
            return ()
        except OSError as problem:
            raise SettingsError(f"{self._path} cannot be read: {problem.strerror}.") from problem
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        if seen != self._seen:
            self._kept = self._read()
            self._seen = seen
        return self._kept

    def name_of(self, token: str) -> str | None:
        """Whose token it is; ``None`` where it is nobody's. Takes as long for a wrong token as for a right one.

        Raises:
            SettingsError: as `kept`.

        """
        if not _TOKEN.fullmatch(token):
            return None
        presented = _hash_of(token)
        matching = [row.name for row in self.kept() if hmac.compare_digest(row.sha256, presented)]
        return matching[0] if matching else None

    def _read(self) -> tuple[KeptToken, ...]:
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))["tokens"]
            return tuple(KeptToken(**row) for row in rows)
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise SettingsError(
                f"{self._path} is not the file of tokens that `token add` writes. Restore it, or remove it and make the tokens "
                "anew."
            ) from problem

    def _write(self, rows: Sequence[KeptToken]) -> None:
        """Replace the file at once: whoever reads it sees the tokens before or after."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        text = json.dumps({"tokens": [asdict(row) for row in rows]}, indent=2)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - private from its first moment
            file.write(text)
        new.replace(self._path)


def _hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
