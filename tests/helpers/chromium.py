"""A headless Chromium that a test drives over its debugging socket. It needs the program, and no package."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium: apt-get install chromium")
_OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--disable-quic",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
    "--window-size=1100,720",
]


class Chromium:
    """One page; an async context.

    Args:
        microphone: wav file that the microphone hears, again and again.
    """

    def __init__(self, microphone: Path | None = None) -> None:
        self._microphone = microphone
        self.errors: list[str] = []
        """What the page's console says is wrong, failed requests apart."""
        self._count = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Chromium:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        heard = [] if self._microphone is None else [f"--use-file-for-fake-audio-capture={self._microphone}"]
        self._process = await asyncio.create_subprocess_exec(
            str(PROGRAM), *_OPTIONS, *heard, f"--user-data-dir={self._folder.name}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        port = Path(self._folder.name) / "DevToolsActivePort"
        while not port.is_file() or len(port.read_text().splitlines()) < 2:
            await asyncio.sleep(0.1)
        address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
        self._http = aiohttp.ClientSession()
        pages: list[dict[str, Any]] = []
        while not pages:
            pages = [x for x in await (await self._http.get(f"{address}/json")).json() if x["type"] == "page"]
        self._socket = await self._http.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
        self._reading = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime", "DOM"):
            await self.call(f"{domain}.enable")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await self._http.close()
        self._process.kill()
        await self._process.wait()
        self._folder.cleanup()

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        self._count += 1
        self._answers[self._count] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._count, "method": method, "params": parameters})
        answer = await asyncio.wait_for(self._answers[self._count], 20)
        assert "error" not in answer, answer
        return answer["result"]

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        arguments = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = await self.call("Runtime.evaluate", expression=script, **arguments)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str, seconds: float = 20.0) -> Any:
        """Wait until an expression is true; its value."""
        end = asyncio.get_running_loop().time() + seconds
        while not (value := await self.run(script)):
            assert asyncio.get_running_loop().time() < end, script
            await asyncio.sleep(0.05)
        return value

    async def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in an upload field."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        node = (await self.call("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
        await self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    async def resize(self, width: int, height: int) -> None:
        """Change the size of the window."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def screenshot(self) -> bytes:
        """The page as a PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])

    async def _read(self) -> None:
        async for message in self._socket:
            answer = json.loads(message.data)
            if "id" in answer:
                self._answers.pop(answer["id"]).set_result(answer)
            elif answer["method"] == "Runtime.exceptionThrown":
                self.errors.append(str(answer["params"]["exceptionDetails"]))
            elif answer["method"] == "Runtime.consoleAPICalled" and answer["params"]["type"] == "error":
                self.errors.append(str(answer["params"]["args"]))
