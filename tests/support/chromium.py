"""A headless Chromium, driven over its DevTools protocol: what a person sees, and what the console says."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

#: Names under which it is installed.
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """Path of an installed Chromium, or None."""
    return next((path for name in _PROGRAMS if (path := shutil.which(name))), None)


class Page:
    """The one tab of the browser.

    Attributes:
        errors: What was said on the console as an error, uncaught exceptions included, since the last `open`.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, address: str) -> None:
        """Go to an address; what it shows comes a little later."""
        self.errors.clear()
        self._call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self) -> str:
        """What a person can read."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def wait_for(self, *texts: str, seconds: float = 60) -> str:
        """Wait until all of these can be read; everything that can be read then."""
        deadline = time.monotonic() + seconds
        while not all(text in (shown := self.text()) for text in texts):
            missing = [text for text in texts if text not in shown]
            assert time.monotonic() < deadline, f"{missing} never came; to be read is:\n{shown}"
            time.sleep(0.2)
        return shown

    def type(self, selector: str, text: str) -> None:
        """Wait for an input, then type into it as a keyboard does."""
        self.until(f"document.querySelector({json.dumps(selector)}) !== null")
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self._call("Input.insertText", text=text)

    def click(self, text: str) -> None:
        """Wait for a button with this text or label, then click it."""
        wanted = json.dumps(text)
        found = (
            "[...document.querySelectorAll('button, [role=tab], [role=button], input[type=submit]')]"
            f".find(e => (e.innerText || e.value || '').trim() === {wanted}"
            f" || e.getAttribute('aria-label') === {wanted} || e.title === {wanted})"
        )
        self.until(f"{found} !== undefined")
        self.run(f"{found}.click()")

    def screenshot(self, file: Path) -> None:
        """Keep what the window shows as a PNG."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def until(self, condition: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < deadline, f"never true: {condition}; to be read is:\n{self.text()}"
            time.sleep(0.2)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            entry = parameters["entry"]
            self.errors.append(f"{entry['text']} {entry.get('url', '')}".strip())
        elif message.get("method") == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.errors.append(" ".join(str(each.get("value", "")) for each in parameters["args"]))


@contextlib.contextmanager
def browsing(program: str, *, width: int = 1280, height: int = 800) -> Iterator[Page]:
    """A fresh browser in English, for as long as the block runs.

    Args:
        program: What `find_chromium` has found.
        width, height: Of its window (px).
    """
    profile = Path(tempfile.mkdtemp(prefix="chromium-"))
    process = subprocess.Popen(
        [
            program,
            "--headless=new",
            # Its sandbox needs rights that a container often lacks; it sees our own pages alone.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-proxy-server",
            "--lang=en-US",
            "--hide-scrollbars",
            f"--window-size={width},{height}",
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
            "about:blank",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with connect(_tab(process, profile), max_size=None, proxy=None) as socket:
            page = Page(socket)
            page._call(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=height,
                deviceScaleFactor=1,
                mobile=False,
            )
            yield page
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(profile, ignore_errors=True)


def _tab(process: subprocess.Popen[bytes], profile: Path) -> str:
    """Address of the tab's socket; the browser writes its port into its profile."""
    deadline = time.monotonic() + 60
    port_file = profile / "DevToolsActivePort"
    while not (port_file.exists() and "\n" in port_file.read_text()):
        assert process.poll() is None, f"Chromium ended with code {process.returncode}"
        assert time.monotonic() < deadline, "Chromium did not come up within a minute"
        time.sleep(0.1)
    port = port_file.read_text().split()[0]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=20) as answer:
            tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
        if tabs:
            return str(tabs[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
