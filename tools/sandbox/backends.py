"""The backends, strongest first; which of them works here is for `probing` to find out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from routing.errors import SettingsError
from routing.settings import Settings
from tools.sandbox.bubblewrap import Bubblewrap
from tools.sandbox.containers import Container, Engine
from tools.sandbox.landlock import Landlock
from tools.sandbox.seatbelt import Seatbelt
from tools.sandbox.types import Backend
from tools.sandbox.webassembly import WebAssembly


def backends(settings: Settings) -> Sequence[Backend]:
    """The backends that the setting allows: all where it is ``auto``, none where it is ``off``, else the one it names.

    Raises:
        SettingsError: it names none.

    """
    known = {backend.name: backend for backend in _strongest_first(settings)}
    match settings.sandbox:
        case "auto":
            return tuple(known.values())
        case "off":
            return ()
        case name if name in known:
            return (known[name],)
        case name:
            raise SettingsError(f"POINTSMAN_SANDBOX={name} is no sandbox. Known are: auto, off, {', '.join(known)}.")


def _strongest_first(settings: Settings) -> Iterator[Backend]:
    if settings.sandbox_runtime:
        yield from _containers(settings, settings.sandbox_runtime)
    yield Bubblewrap()
    yield from _containers(settings, None)
    yield Landlock()
    yield Seatbelt()
    yield WebAssembly()


def _containers(settings: Settings, runtime: str | None) -> Iterator[Backend]:
    engines: tuple[Engine, ...] = get_args(Engine)
    for engine in engines:
        yield Container(engine, image=settings.sandbox_image, variables=settings.variables, runtime=runtime)
