from __future__ import annotations

import os
from pathlib import Path

import httpx2 as httpx
import platformdirs
import pytest

from routing.embedded.assets import QWEN_CODER_HALF_BILLION, fetch
from routing.embedded.runtime import MODEL_ID, EmbeddedRuntime
from routing.types import OnProgress, Progress


async def ignore(progress: Progress) -> None:
    pass


@pytest.fixture
def weights_folder() -> Path:
    home = Path(os.environ.get("POINTSMAN_HOME") or platformdirs.user_data_path("pointsman"))
    for folder in (home / "models", home):
        if (folder / QWEN_CODER_HALF_BILLION.file_name).exists():
            return folder
    pytest.skip(f"there are no weights in {home}: fetch them with `pointsman pull`")


@pytest.mark.anyio
async def test_the_real_model_answers_on_this_machine(weights_folder: Path, tmp_path: Path) -> None:
    async def weights(on_progress: OnProgress) -> Path:
        return await fetch(QWEN_CODER_HALF_BILLION, weights_folder, on_progress)

    runtime = EmbeddedRuntime(weights, log_path=tmp_path / "llama.log")
    try:
        base_url = await runtime.base_url(ignore)
        question = {"role": "user", "content": "What is the capital of France? Answer in one word."}
        body = {"model": MODEL_ID, "messages": [question], "temperature": 0, "max_tokens": 8}
        async with httpx.AsyncClient(trust_env=False, timeout=120) as http:
            key = {"Authorization": f"Bearer {runtime.api_key}"}
            answer = (await http.post(f"{base_url}/chat/completions", json=body, headers=key)).json()
    finally:
        await runtime.aclose()
    assert "Paris" in answer["choices"][0]["message"]["content"]
