"""Bearer tokens: told once, kept as hashes, refused once revoked."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.tokens import PREFIX, TokenFile
from routing.errors import InvalidTask, SettingsError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "tokens.json"


def test_a_token_is_its_owners_and_no_other_is(path: Path) -> None:
    file = TokenFile(path)
    anns, bobs = file.add("ann", 1.0), file.add("bob", 2.0)

    assert file.name_of(anns) == "ann"
    assert file.name_of(bobs) == "bob"
    assert file.name_of(anns[:-1] + ("A" if anns[-1] != "A" else "B")) is None
    assert [row.name for row in file.kept()] == ["ann", "bob"]


def test_of_a_token_only_its_hash_is_kept_where_only_its_owner_reads(path: Path) -> None:
    token = TokenFile(path).add("ann", 1.0)

    assert token not in path.read_text(encoding="utf-8")
    assert token.removeprefix(PREFIX) not in path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["tokens.json"]


def test_tokens_have_256_bits_that_share_nothing(path: Path) -> None:
    file = TokenFile(path)
    tokens = {file.add(f"n{number}", 1.0) for number in range(50)}

    assert len({token[:12] for token in tokens}) == 50
    assert {len(token.removeprefix(PREFIX)) for token in tokens} == {43}  # base64 of 32 bytes


def test_a_token_that_another_process_revokes_is_refused_at_once(path: Path) -> None:
    server, terminal = TokenFile(path), TokenFile(path)
    token = terminal.add("ann", 1.0)
    assert server.name_of(token) == "ann"

    terminal.revoke("ann")

    assert server.name_of(token) is None


def test_nobody_has_two_tokens_and_a_name_without_one_cannot_be_revoked(path: Path) -> None:
    file = TokenFile(path)
    file.add("ann", 1.0)

    with pytest.raises(InvalidTask, match="ann has a token"):
        file.add("ann", 2.0)
    with pytest.raises(InvalidTask, match="bob has no token"):
        file.revoke("bob")


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "ann\n"])
def test_what_is_no_name_gets_no_token(path: Path, name: str) -> None:
    with pytest.raises(InvalidTask, match="is no name"):
        TokenFile(path).add(name, 1.0)


@pytest.mark.parametrize("text", ["", "[]", '{"tokens": [{"name": "ann"}]}', '{"tokens": 1}', "{"])
def test_a_damaged_file_lets_nobody_in_and_is_named(path: Path, text: str) -> None:
    file = TokenFile(path)
    token = file.add("ann", 1.0)
    path.write_text(text, encoding="utf-8")

    for _ in range(2):
        with pytest.raises(SettingsError, match=r"tokens\.json"):
            file.name_of(token)


@given(token=st.one_of(st.text(), st.text(alphabet="'\"\0é-_ aA1", min_size=43, max_size=43).map(PREFIX.__add__)))
def test_whatever_is_presented_is_nobodys(token: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("tokens") / "tokens.json"
    path.write_text(json.dumps({"tokens": [{"name": "ann", "sha256": "0" * 64, "created_at": 1.0}]}), encoding="utf-8")

    assert TokenFile(path).name_of(token) is None
