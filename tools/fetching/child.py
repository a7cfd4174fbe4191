"""The process that reads documents, one after the other. Run by its path; `reading.py` holds the other end.

    stdin    for each document a line of JSON (`Order`), and then its bytes
    stdout   a line {"ready": true}; for each document a line: {"title", "text", "truncated"} or {"error": "…"}

It holds no secrets: it is started with an environment of its own. When stdin closes, whoever started it is gone, and so it
goes too; in the middle of a document the alarm ends it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from tools.fetching.values import Order

MOST_MEMORY_BYTES = 1 << 30
"""Address space; reading an ordinary page takes a tenth of it."""

_GRACE_SECONDS = 5


def main() -> None:
    """Read documents until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for our parent, who then ends us
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that a parser prints may stand among the answers
    _limit_memory()
    _find_our_package()
    importlib.import_module("tools.fetching.documents")  # what takes long is done before the first order
    _say(answers, {"ready": True})
    for line in iter(sys.stdin.buffer.readline, b""):
        order: Order = json.loads(line)
        _say(answers, _answer(order, sys.stdin.buffer.read(order["length"])))


def _answer(order: Order, body: bytes) -> dict[str, object]:
    from tools.fetching.documents import read  # noqa: PLC0415 - see `_find_our_package`
    from tools.fetching.values import Unreadable  # noqa: PLC0415 - likewise

    _alarm(order["seconds"] + _GRACE_SECONDS)
    try:
        kind, charset, url, patience = order["kind"], order["charset"], order["url"], order["seconds"] / 2
        return asdict(read(body, kind, charset=charset, url=url, seconds=patience))
    except Unreadable as why:
        return {"error": str(why)}
    except MemoryError:
        return {"error": "it takes more memory to read than a document should"}
    except Exception as failure:  # noqa: BLE001 - a parser may fail in any way; the parent says so
        return {"error": f"it cannot be parsed ({type(failure).__name__})"}
    finally:
        _alarm(0)


def _say(answers: IO[str], answer: dict[str, object]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _find_our_package() -> None:
    """Make `tools.fetching` importable without what `tools/__init__.py` imports: the whole MCP SDK."""
    room = Path(__file__).resolve().parent.parent
    package = ModuleType("tools")
    package.__path__ = [str(room)]
    sys.modules["tools"] = package


def _limit_memory() -> None:
    """Where the system has such limits (Linux, and most others but Windows)."""
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 - Windows has none

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))


def _alarm(seconds: float) -> None:
    """End this process after so long, even inside native code, should nobody be left to do it; 0 takes it back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    main()
