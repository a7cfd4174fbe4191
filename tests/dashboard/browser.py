"""A headless Chromium, driven over its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_LISTENING = "DevTools listening on "
_PATIENCE_SECONDS = 30


class Browser:
    """One Chromium with a profile of its own in ``folder``, and one page in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids = count(1)
        self._session = ""
        self._open = ExitStack()
        self._loaded = False
        self.requested: list[str] = []
        self.complaints: list[str] = []

    def __enter__(self) -> Self:
        assert CHROMIUM is not None
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={self._folder}", "about:blank"]
        with ExitStack() as stack:
            said = subprocess.PIPE
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, text=True))
            stack.callback(process.terminate)
            self._socket: ClientConnection = stack.enter_context(connect(_address_of(process), max_size=None))
            self._attach()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _attach(self) -> None:
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._ask(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go to an address and wait until it is loaded; what is requested and complained about counts from here."""
        self.requested.clear()
        self.complaints.clear()
        self._loaded = False
        self._ask("Page.navigate", url=url)
        while not self._loaded:
            self._note(self._receive())

    def look(self, *, width: int = 1100, height: int = 1500, scheme: str = "light") -> None:
        """Take this size and colour scheme."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited where it is a promise."""
        ran = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in ran, ran["exceptionDetails"]
        return ran["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Come back once the condition holds in the page."""
        milliseconds = 1_000 * _PATIENCE_SECONDS
        self.run(
            f"""new Promise((resolve, reject) => {{
              const last = performance.now() + {milliseconds};
              const look = () => ({condition}) ? resolve()
                : performance.now() > last ? reject(new Error("never so: " + {json.dumps(condition)})) : setTimeout(look, 20);
              look();
            }})"""
        )

    def press(self, key: str, code: int) -> None:
        """Press a key; ``code`` is its virtual key code."""
        for kind in ("rawKeyDown", "keyUp"):
            self._ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path) -> bytes:
        """The whole page as a PNG file, and its bytes."""
        size = self._ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {**size, "scale": 1}
        shot = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path.read_bytes()

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        envelope = {"sessionId": self._session} if self._session else {}
        self._socket.send(json.dumps({"id": number, "method": method, "params": params, **envelope}))
        while (message := self._receive()).get("id") != number:
            self._note(message)
        assert "error" not in message, (method, message["error"])
        return dict(message["result"])

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=_PATIENCE_SECONDS))
        return message

    def _note(self, event: dict[str, Any]) -> None:
        match event:
            case {"method": "Network.requestWillBeSent", "params": {"request": {"url": str(url)}}}:
                self.requested.append(url)
            case {"method": "Page.loadEventFired"}:
                self._loaded = True
            case {"method": "Runtime.exceptionThrown" | "Log.entryAdded", "params": params}:
                self.complaints.append(json.dumps(params))
            case _:
                pass


def _address_of(process: subprocess.Popen[str]) -> str:
    said: list[str] = []
    for line in process.stderr or ():
        if line.startswith(_LISTENING):
            return line.removeprefix(_LISTENING).strip()
        said.append(line)
    raise RuntimeError(f"Chromium ended: {''.join(said)}")
