"""`server.py install`: a host's own file gets our entry, and loses it again."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hosts import blocks
from hosts.install import HostFileError, added, copied, made, removed
from hosts.launch import Launch
from hosts.machine import Machine
from hosts.table import HOSTS, Host, HostName
from routing.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent.parent
LAUNCH = Launch(command="/opt/pointsman/.venv/bin/python", args=("/opt/pointsman/server.py",))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ZED = """\
// Zed settings
{
  "theme": "One Dark", // dark
  "context_servers": {
    /* "old": {}, */
    "other": { "command": "x", "env": { "TOKEN": "their-secret" } },
  },
}
"""


def file(folder: Path, host: Host, text: str) -> Path:
    path = Machine(home=folder, platform="linux", environment={}).file_of(host)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("name", HOSTS)
def test_every_host_gets_the_entry_and_loses_it_and_the_file_is_as_before(tmp_path: Path, name: HostName) -> None:
    host = HOSTS[name]
    before = (
        "a: 1 # mine\nextensions:\n  other: {cmd: x}\n"
        if host.format == "yaml"
        else f'{{\n\t// mine\n\t"{host.container}": {{"other": {{}}}}\n}}'
    )
    path = file(tmp_path, host, before)

    made(added(host, path, LAUNCH, {}), NOON)
    assert path.read_text(encoding="utf-8") != before
    assert added(host, path, LAUNCH, {}).is_none
    made(removed(host, path), NOON)

    assert path.read_bytes() == before.encode()


def test_comments_and_trailing_commas_stay(tmp_path: Path) -> None:
    change = added(HOSTS["zed"], file(tmp_path, HOSTS["zed"], ZED), LAUNCH, {})

    head, tail = ZED.split("    /* ")
    assert change.after.startswith(head)
    assert change.after.endswith(f"    /* {tail}")
    assert '"/opt/pointsman/server.py"' in change.after.removeprefix(head).removesuffix(f"    /* {tail}")


def test_a_new_file_is_made_with_its_folder_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "not yet/mcp.json"
    backup = made(added(HOSTS["cursor"], path, LAUNCH, {}), NOON)

    assert backup is None
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "mcpServers": {"pointsman": {"type": "stdio", "command": LAUNCH.command, "args": list(LAUNCH.args)}}
    }
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_before_is_kept_as_a_backup_with_the_time_in_its_name(tmp_path: Path) -> None:
    path = file(tmp_path, HOSTS["zed"], ZED)
    path.chmod(0o640)
    backup = made(added(HOSTS["zed"], path, LAUNCH, {}), NOON)

    assert backup is not None
    assert backup == path.with_name("settings.json.20261121T120000000000.bak")
    assert backup.read_bytes() == ZED.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(each.name for each in path.parent.iterdir()) == sorted([path.name, backup.name])


def test_a_link_stays_a_link_and_what_it_names_is_changed(tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles/zed.json"
    kept.parent.mkdir()
    kept.write_text(ZED)
    link = tmp_path / "settings.json"
    link.symlink_to(kept)
    made(added(HOSTS["zed"], link, LAUNCH, {}), NOON)

    assert link.is_symlink()
    assert "pointsman" in kept.read_text(encoding="utf-8")


def test_what_the_user_set_in_our_entry_stays_when_it_is_brought_up_to_date(tmp_path: Path) -> None:
    entry = {"command": "/old/python", "args": ["/old/server.py"], "disabled": True, "env": {"MINE": "1", "KEY": "old"}}
    path = file(tmp_path, HOSTS["cursor"], json.dumps({"mcpServers": {"pointsman": entry}}))
    change = added(HOSTS["cursor"], path, LAUNCH, {"KEY": "new"})

    assert json.loads(change.after)["mcpServers"]["pointsman"] == {
        "type": "stdio",
        "command": LAUNCH.command,
        "args": list(LAUNCH.args),
        "disabled": True,
        "env": {"MINE": "1", "KEY": "new"},
    }


def test_an_entry_that_the_user_switched_off_stays_off(tmp_path: Path) -> None:
    path = file(tmp_path, HOSTS["goose"], "extensions:\n  pointsman:\n    enabled: false\n    cmd: old\n    args: []\n")
    entry = blocks.parsed(added(HOSTS["goose"], path, LAUNCH, {}).after)["extensions"]

    assert entry == {
        "pointsman": {**HOSTS["goose"].constants, "enabled": False, "cmd": LAUNCH.command, "args": [*LAUNCH.args]}
    }


def test_an_entry_that_names_an_address_instead_of_a_command_makes_way(tmp_path: Path) -> None:
    text = '{"mcpServers": {"pointsman": {"url": "http://127.0.0.1:8484/mcp", "headers": {}}}}'
    change = added(HOSTS["windsurf"], file(tmp_path, HOSTS["windsurf"], text), LAUNCH, {})

    assert json.loads(change.after)["mcpServers"]["pointsman"] == {"command": LAUNCH.command, "args": list(LAUNCH.args)}


def test_a_key_is_copied_only_when_it_is_asked_for_and_only_where_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert copied(["OPENAI_API_KEY"], {"OPENAI_API_KEY": "sk", "OTHER": "x"}) == {"OPENAI_API_KEY": "sk"}
    with pytest.raises(SettingsError, match="OPENAI_API_KY is not set"):
        copied(["OPENAI_API_KY"], {"OPENAI_API_KEY": "sk"})


def test_a_diff_shows_no_key_neither_the_new_one_nor_the_one_before(tmp_path: Path) -> None:
    entry = {"command": "x", "env": {"OPENAI_API_KEY": "sk-old-key"}}
    path = file(tmp_path, HOSTS["cursor"], json.dumps({"mcpServers": {"pointsman": entry}}, indent=2))

    shown = added(HOSTS["cursor"], path, LAUNCH, {"OPENAI_API_KEY": "sk-new-key"}).diff()

    assert '+        "OPENAI_API_KEY": "•••"' in shown
    assert "sk-" not in shown + removed(HOSTS["cursor"], path).diff()


@pytest.mark.parametrize("name", HOSTS)
def test_a_file_that_cannot_be_understood_is_left_alone_and_named(tmp_path: Path, name: HostName) -> None:
    path = file(tmp_path, HOSTS[name], "{\n  nonsense: [\n")

    with pytest.raises(HostFileError, match="left alone") as told:
        added(HOSTS[name], path, LAUNCH, {})
    assert str(path) in str(told.value)
    assert "line" in str(told.value)


def test_a_file_that_is_not_utf_8_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes('{"mcpServers": {}}'.encode("utf-16"))
    with pytest.raises(HostFileError, match="UTF-8"):
        added(HOSTS["cursor"], path, LAUNCH, {})


def test_a_change_that_would_touch_more_than_our_entry_is_not_made(tmp_path: Path) -> None:
    text = "base: &base\n  cmd: y\nextensions:\n  pointsman: &ours\n    cmd: x\n    args: []\n  other: *ours\n"
    path = file(tmp_path, HOSTS["goose"], text)
    with pytest.raises(HostFileError, match="by hand"):
        added(HOSTS["goose"], path, LAUNCH, {})
    assert path.read_text(encoding="utf-8") == text


def test_a_file_that_the_host_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = file(tmp_path, HOSTS["zed"], ZED)
    change = added(HOSTS["zed"], path, LAUNCH, {})
    path.write_text("{}")

    with pytest.raises(HostFileError, match="meanwhile"):
        made(change, NOON)
    assert path.read_text(encoding="utf-8") == "{}"


def run(home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "server.py"), "install", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "USERPROFILE": str(home),
            "POINTSMAN_HOME": str(home / "data"),
            **env,
        },
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_the_command_writes_says_where_and_what_next_and_takes_it_out_again(tmp_path: Path) -> None:
    path = tmp_path / ".cursor/mcp.json"
    shown = run(tmp_path, "cursor", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert f"+++ {path}" in shown.stdout
    assert not path.exists()

    done = run(tmp_path, "cursor", "--with-key", "OPENAI_API_KEY", OPENAI_API_KEY="sk-canary")
    assert done.returncode == 0, done.stderr
    assert str(path) in done.stdout
    assert "switch it on" in done.stdout
    assert "OPENAI_API_KEY" in done.stderr
    assert "sk-canary" not in done.stdout + done.stderr
    entry = json.loads(path.read_text(encoding="utf-8"))["mcpServers"]["pointsman"]
    assert entry["env"] == {"OPENAI_API_KEY": "sk-canary"}
    assert entry["args"] == [str(ROOT / "server.py")]

    run(tmp_path, "cursor", "--uninstall")
    assert json.loads(path.read_text(encoding="utf-8")) == {"mcpServers": {}}


def test_json_prints_the_lines_to_paste_and_has_nothing_to_take_out(tmp_path: Path) -> None:
    printed = run(tmp_path, "json", OPENAI_API_KEY="sk-canary")
    (entry,) = json.loads(printed.stdout)["mcpServers"].values()
    assert entry == {"command": sys.executable, "args": [str(ROOT / "server.py")]}

    refused = run(tmp_path, "json", "--uninstall")
    assert refused.returncode != 0
    assert "nothing to take out" in refused.stderr
