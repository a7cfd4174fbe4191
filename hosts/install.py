"""Add Pointsman to a host's own file, or take it out: plan the change, show it, make it.

A change is worked out on the text, then read again: where anything but our entry would differ from what it was, nothing is
written.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, cast

from hosts import blocks, jsonc
from hosts.launch import Launch
from hosts.table import Host
from routing.errors import RoutingError, SettingsError

NAME = "pointsman"
_MASK = "•••"
_SHORTEST_SECRET = 4
"""Shorter values are no secrets, and masking them would make a diff unreadable."""

Entry = Mapping[str, object]


class HostFileError(RoutingError):
    """A host's file cannot be read, understood or written."""


class Format(Protocol):
    """A way to write a file: reading it, and changing one value of it. All raise ValueError where it cannot be understood."""

    def parsed(self, text: str) -> Mapping[str, object]: ...

    def with_value(self, text: str, path: Sequence[str], value: object) -> str: ...

    def without(self, text: str, path: Sequence[str]) -> str: ...


_FORMATS: Mapping[str, Format] = {"jsonc": jsonc, "yaml": blocks}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to become of a host's file; ``before`` is ``None`` where there is no file yet. ``secrets`` are never shown."""

    path: Path
    before: str | None
    after: str
    secrets: tuple[str, ...] = ()

    @property
    def is_none(self) -> bool:
        """Whether everything is as it should be already."""
        return (self.before or "") == self.after

    def diff(self) -> str:
        """The change as a unified diff, keys masked."""
        before, after = (text.splitlines(keepends=True) for text in (self.before or "", self.after))
        old = "/dev/null" if self.before is None else str(self.path)
        lines = (
            line if line.endswith("\n") else f"{line}\n"
            for line in difflib.unified_diff(before, after, old, str(self.path))
        )
        shown = "".join(lines)
        for secret in self.secrets:
            shown = shown.replace(secret, _MASK)
        return shown


def entry_of(host: Host, launch: Launch, variables: Mapping[str, str], present: Entry | None = None) -> Entry:
    """Our entry as this host wants it. Of one that is ``present`` everything stays that the user may have set."""
    if present is None or host.command not in present:
        present = {}
    env = {**_strings(present.get(host.env)), **variables}
    entry = {**host.constants, **present, host.command: launch.command, "args": list(launch.args)}
    return {**entry, host.env: env} if env else entry


def snippet(launch: Launch, variables: Mapping[str, str]) -> str:
    """What most hosts want in their file, as JSON to paste."""
    env = {"env": dict(variables)} if variables else {}
    entry = {"command": launch.command, "args": list(launch.args), **env}
    return json.dumps({"mcpServers": {NAME: entry}}, indent=2, ensure_ascii=False) + "\n"


def copied(names: Sequence[str], environment: Mapping[str, str]) -> Mapping[str, str]:
    """The present values of these variables.

    Raises:
        SettingsError: one is not set.

    """
    if missing := [name for name in names if not environment.get(name)]:
        raise SettingsError(
            f"{missing[0]} is not set here, so there is nothing to copy. Set it, or leave --with-key out."
        )
    return {name: environment[name] for name in names}


def added(host: Host, path: Path, launch: Launch, variables: Mapping[str, str]) -> Change:
    """Plan to add our entry, or to bring it up to date.

    Raises:
        HostFileError: the file cannot be read or understood.

    """
    before = _read(path)
    try:
        file = _FORMATS[host.format].parsed(before or "")
        present = _entry_in(file, host)
        entry = entry_of(host, launch, variables, present)
        after = _FORMATS[host.format].with_value(before or "", (host.container, NAME), entry)
    except ValueError as problem:
        raise _unclear(host, path, problem) from problem
    others = _container_of(file, host)
    _check(host, path, after, {**file, host.container: {**others, NAME: entry}})
    secrets = {*variables.values(), *_strings((present or {}).get(host.env)).values()}
    return Change(path=path, before=before, after=after, secrets=_masked(secrets))


def removed(host: Host, path: Path) -> Change:
    """Plan to take our entry out.

    Raises:
        HostFileError: the file cannot be read or understood.

    """
    before = _read(path)
    try:
        file = _FORMATS[host.format].parsed(before or "")
        present = _entry_in(file, host)
        after = _FORMATS[host.format].without(before or "", (host.container, NAME))
    except ValueError as problem:
        raise _unclear(host, path, problem) from problem
    if present is not None:
        rest = {name: value for name, value in _container_of(file, host).items() if name != NAME}
        _check(host, path, after, {**file, host.container: rest})
    return Change(
        path=path, before=before, after=after, secrets=_masked({*_strings((present or {}).get(host.env)).values()})
    )


def made(change: Change, now: datetime) -> Path | None:
    """Write the change in one step, and give the backup of what was there before, where there was a file.

    Raises:
        HostFileError: the file cannot be written, or was changed by somebody else meanwhile.

    """
    target = change.path.resolve()  # a link into a folder of dotfiles stays a link
    if _read(target) != change.before:
        raise HostFileError(f"{change.path} was changed meanwhile. Close the host and try again.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        backup = _backed_up(target, now) if change.before is not None else None
        _replace(target, change.after.encode())
    except OSError as problem:
        raise HostFileError(f"{change.path} cannot be written: {problem.strerror}.") from problem
    return backup


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as problem:
        raise HostFileError(f"{path} is not UTF-8, so it is left alone. Save it as UTF-8 and try again.") from problem
    except OSError as problem:
        raise HostFileError(f"{path} cannot be read: {problem.strerror}.") from problem


def _backed_up(target: Path, now: datetime) -> Path:
    backup = target.with_name(f"{target.name}.{now:%Y%m%dT%H%M%S%f}.bak")
    shutil.copy2(target, backup)
    return backup


def _replace(target: Path, content: bytes) -> None:
    """Put a file in another's place at once, with the permissions that it had; a new one is for its owner alone."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, name)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _entry_in(file: Mapping[str, object], host: Host) -> Entry | None:
    entry = _container_of(file, host).get(NAME)
    return cast("Entry", entry) if isinstance(entry, dict) else None


def _container_of(file: Mapping[str, object], host: Host) -> Mapping[str, object]:
    container = file.get(host.container)
    return cast("Mapping[str, object]", container) if isinstance(container, dict) else {}


def _strings(value: object) -> dict[str, str]:
    """The variables of an entry; those of another type than a host would accept are passed over."""
    pairs = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return {name: text for name, text in pairs.items() if isinstance(text, str)}


def _masked(secrets: set[str]) -> tuple[str, ...]:
    """The longest first, so that none hides a part of another."""
    return tuple(sorted((secret for secret in secrets if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True))


def _check(host: Host, path: Path, after: str, expected: Mapping[str, object]) -> None:
    """Refuse a change that would touch more than our entry."""
    try:
        same = _FORMATS[host.format].parsed(after) == expected
    except ValueError:
        same = False
    if not same:
        raise HostFileError(
            f"{path} is written in a way that cannot be changed safely, so it is left alone. Add the entry by hand: "
            "`install json` prints it."
        )


def _unclear(host: Host, path: Path, problem: ValueError) -> HostFileError:
    kind = "YAML" if host.format == "yaml" else "JSON"
    return HostFileError(
        f"{path} is no {kind} that {host.title} could read ({problem}), so it is left alone. Mend it first."
    )
