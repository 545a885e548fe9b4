"""A headless Chromium, spoken to by its DevTools protocol; what it complains about is kept."""

import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import websocket

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]


class Browser:
    """One page of a given width and height; close it when done."""

    def __init__(self, profile: Path, width: int, height: int):
        command = [str(PROGRAM), *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            address = self._address(profile / "DevToolsActivePort")
            self.socket = websocket.create_connection(address, suppress_origin=True, timeout=60)
        except BaseException:
            self.process.kill()
            raise
        self.sent = 0
        self.events: list[dict] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def _address(self, port_file: Path) -> str:
        for _ in range(300):
            with suppress(OSError, IndexError, ValueError):
                port = int(port_file.read_text().splitlines()[0])
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
                    pages = [page for page in json.load(answer) if page["type"] == "page"]
                return pages[0]["webSocketDebuggerUrl"]
            time.sleep(0.1)
        raise TimeoutError("chromium did not open its DevTools port")

    def call(self, method: str, **params) -> dict:
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.sent:
                return answer["result"]
            self.events.append(answer)

    def value(self, expression: str):
        """The value of a JavaScript expression."""
        options = {"awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, page: Path, ready: str) -> None:
        self.open_address(page.as_uri(), ready)

    def open_address(self, address: str, ready: str) -> None:
        self.call("Page.navigate", url=address)
        for _ in range(300):
            if self.value(f"document.body !== null && Boolean({ready})"):
                return
            time.sleep(0.1)
        raise TimeoutError(f"{address} is not ready: {self.complaints()}")

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode={"ArrowRight": 39, "Enter": 13}[key],
                      text="\r" if key == "Enter" else "")  # fmt: skip

    def complaints(self) -> list[dict]:
        """Exceptions, errors and warnings so far."""
        console = ("error", "warning", "assert")
        return [
            event
            for event in self.events
            if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")
            or event.get("params", {}).get("type") in console
        ]

    def requests(self) -> list[str]:
        sent = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)
