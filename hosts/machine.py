"""A host's place on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hosts.table import ROOTS, Host, Place, Platform, Root


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a user's files lie, handed in so that a test may stand for any machine."""

    home: Path
    platform: str
    environment: Mapping[str, str]

    def file_of(self, host: Host) -> Path:
        """The host's file: in the first of its folders that exists, else where the host itself would make it."""
        places = host.places[_platform(self.platform)]
        found = (path for place in places for path in self._present(place))
        return next(found, None) or next(self._path(place) for place in places if "*" not in place.path)

    def _present(self, place: Place) -> list[Path]:
        """The file's path in each folder of this place that exists."""
        folder, _, name = place.path.rpartition("/")
        folders = sorted(self._root(place.root).glob(folder)) if folder else [self._root(place.root)]
        return [path / name for path in folders]

    def _path(self, place: Place) -> Path:
        return self._root(place.root) / place.path

    def _root(self, root: Root) -> Path:
        moved = "" if root == "HOME" else self.environment.get(root, "")
        return Path(moved) if moved else self.home / ROOTS[root]


def _platform(name: str) -> Platform:
    """The platform's row of the table; other Unixes keep their files where Linux does."""
    match name:
        case "darwin" | "win32":
            return name
        case _:
            return "linux"
