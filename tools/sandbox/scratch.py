"""A guest's one folder on the host, for backends that cannot give it a file system in memory."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path


def made(parent: Path | None) -> str:
    """Make a folder that only its owner may enter, in ``parent`` or where the system keeps temporary files."""
    return str(Path(tempfile.mkdtemp(prefix="pointsman-", dir=parent)).resolve())


def remove(folder: str) -> None:
    """Remove it with what the guest left; trees that are too deep for Python are not too deep for rm."""
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        subprocess.run(("rm", "-rf", "--", folder), check=False)  # noqa: S603, S607 - no shell, and a folder of our own
