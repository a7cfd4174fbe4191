"""The model's server, in a process of its own. Run by its path; `runtime.py` holds the other end.

    stdin    one line of JSON: model_path, api_key, threads, context_tokens, sleep_seconds; then it stays open
    stdout   one line of JSON: {"address": "http://127.0.0.1:PORT"}, or {"error": "…"} and the end
    stderr   llama.cpp's own words

When stdin closes, whoever started this is gone, even if by kill -9, and so it goes too.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from typing import Any, TypedDict

PROMPT_CACHE_MIB = 512
"""What earlier prompts may keep in memory, so that a prefix is not computed twice. llama.cpp would take 8 GiB."""

SPINS = "1000"
"""How often a thread looks for its fellows before it sleeps. OpenMP's own 300,000 waste the cores when they are busy:
on two cores with two other busy processes 8 to 12 tokens a second became 21; on quiet ones nothing changed."""


class Config(TypedDict):
    """What `runtime.py` says on stdin. ``sleep_seconds`` without a request free the memory until the next one."""

    model_path: str
    api_key: str
    threads: int
    context_tokens: int
    sleep_seconds: int


def main() -> None:
    """Serve until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for our parent, who then ends us
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that the native library prints may stand among the answers
    try:
        server = _start(json.loads(sys.stdin.readline()))
        answer = {"address": server.listening_address}
    except ImportError as failure:
        answer = {"error": f"xllamacpp cannot be loaded: {failure}.{_missing_library_hint(failure)}"}
    except Exception as failure:  # noqa: BLE001 - the parent raises it
        answer = {"error": f"{type(failure).__name__}: {failure}"}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    if "address" in answer:
        sys.stdin.read()
    os._exit(0)  # no clean-up: the server's threads would be waited for


def _missing_library_hint(failure: ImportError) -> str:
    """What slim container images lack: the wheel takes the system's OpenMP runtime for granted."""
    return " Install it (Debian and Ubuntu: apt-get install libgomp1)." if "libgomp" in str(failure) else ""


def _start(config: Config) -> Any:
    """Start the server (it has loaded the model when this returns); ``Any`` because xllamacpp has no types."""
    os.putenv("GOMP_SPINCOUNT", SPINS)  # OpenMP reads it when it is loaded, below
    xllamacpp = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = config["model_path"]
    params.model_alias = {"local"}  # a set: a string would name the model by each of its letters
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [config["api_key"]]
    params.ui = False
    params.endpoint_slots = False  # it shows the prompts
    params.n_ctx = config["context_tokens"]
    params.n_parallel = 1
    params.cpuparams.n_threads = config["threads"]
    params.cpuparams_batch.n_threads = config["threads"]
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.sampling.temp = 0.0  # a model this small needs no encouragement to be inventive
    params.sleep_idle_seconds = config["sleep_seconds"]
    params.verbosity = 1  # errors and warnings
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
