"""A page in headless Chromium, spoken to in the DevTools protocol: no driver is needed, and aiohttp comes with DVC."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0")
SECONDS = 30
DRAWN = "[...document.querySelectorAll('.chart')].every(chart => chart.querySelector('svg .role-mark'))"


def chromium() -> str | None:
    """The browser's path, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """A page, and all that its browser has said of it: errors, console lines, requests."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, loop: asyncio.AbstractEventLoop):
        self._socket, self._loop, self._sent = socket, loop, 0
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        return self._loop.run_until_complete(asyncio.wait_for(self._ask(method, params), SECONDS))

    def run(self, script: str) -> Any:
        """The value of an expression; of a promise, what it comes to."""
        done = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def open(self, uri: str, width: int, height: int = 900, theme: str = "light") -> None:
        """Load ``uri`` in a window of that size, and wait until everything is drawn."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Page.navigate", url=uri)
        self.wait(f"document.readyState == 'complete' && {DRAWN}")

    def wait(self, condition: str) -> None:
        """Until ``condition`` holds; a page has two seconds for it, and what fails to come a test will miss."""
        look = f"() => {{ if ({condition} || Date.now() > end) setTimeout(done, 100); else setTimeout(look, 20); }}"
        self.run(f"new Promise(done => {{ const end = Date.now() + 2000; const look = {look}; look(); }})")

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._sent += 1
        number = self._sent
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            heard = json.loads((await self._socket.receive()).data)
            if heard.get("id") == number:
                assert "error" not in heard, heard
                return heard["result"]
            self._note(heard.get("method"), heard.get("params", {}))

    def _note(self, event: str | None, params: dict[str, Any]) -> None:
        if event in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(json.dumps(params))
        if event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"][:200])


@contextmanager
def browsing(profile: Path) -> Iterator[Page]:
    """A blank page of a browser that ends with the block; it keeps its files in ``profile``."""
    command = [str(chromium()), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    loop = asyncio.new_event_loop()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            address = _address(profile)
            session = loop.run_until_complete(_session())
            try:
                socket = loop.run_until_complete(_connect(session, address))
                yield Page(socket, loop)
                loop.run_until_complete(socket.close())
            finally:
                loop.run_until_complete(session.close())
        finally:
            process.terminate()
            process.wait(SECONDS)
            loop.close()


def _address(profile: Path) -> str:
    """Where the browser listens, which it writes into its profile."""
    told = profile / "DevToolsActivePort"
    end = time.monotonic() + SECONDS
    while not (told.is_file() and "\n" in told.read_text()):
        assert time.monotonic() < end, "the browser does not listen"
        time.sleep(0.05)
    return f"127.0.0.1:{told.read_text().splitlines()[0]}"


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


async def _connect(session: aiohttp.ClientSession, address: str) -> aiohttp.ClientWebSocketResponse:
    async with session.get(f"http://{address}/json/list") as answer:
        targets = await answer.json()
    (blank,) = [target for target in targets if target["type"] == "page"]
    return await session.ws_connect(blank["webSocketDebuggerUrl"], max_msg_size=0)
