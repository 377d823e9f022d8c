"""A server of click portraits within the test's own event loop, and a WebRTC client of it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import numpy as np
import soundfile
from aiohttp.test_utils import TestClient, TestServer
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from nerfstudio_talking.serving.click_portrait import ClickPortrait
from nerfstudio_talking.serving.config import ServeConfig
from nerfstudio_talking.serving.portraits import Portrait
from nerfstudio_talking.serving.registry import SessionRegistry
from nerfstudio_talking.serving.timeline import RATE
from nerfstudio_talking.serving.web.app import create_app


def with_server(
    talk: Callable[[TestClient, SessionRegistry], Awaitable[None]],
    portraits: Sequence[Portrait] | None = None,
    timeout: float = 30.0,
    **options: Any,
) -> None:
    """Run `talk` with a client of a server with these options."""

    async def run() -> None:
        config = ServeConfig(**options)
        registry = SessionRegistry(portraits or [ClickPortrait()], config.max_sessions, config.max_audio_seconds)
        async with TestClient(TestServer(create_app(registry, config))) as client:
            await asyncio.wait_for(talk(client, registry), timeout)

    asyncio.run(run())


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    """The bytes of a wav file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="wav")
    return file.getvalue()


def form(session: str, data: bytes, name: str = "voice.wav") -> aiohttp.FormData:
    """The form of an upload."""
    fields = aiohttp.FormData()
    fields.add_field("sessionid", session)
    fields.add_field("file", data, filename=name)
    return fields


class Peer:
    """A browser's part: offers, receives, and notes what arrives when."""

    def __init__(self) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.video: list[tuple[float, int, np.ndarray]] = []
        self.audio: list[tuple[float, int, np.ndarray]] = []
        self.session = ""
        self._tasks: list[asyncio.Task[None]] = []
        self.pc.addTransceiver("audio", "recvonly")
        self.pc.addTransceiver("video", "recvonly")
        self.pc.on("track", lambda track: self._tasks.append(asyncio.ensure_future(self._receive(track))))

    async def connect(self, client: TestClient, **fields: Any) -> dict[str, Any]:
        """Begin a session; the server's answer."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        body = {"sdp": self.pc.localDescription.sdp, "type": "offer", **fields}
        answer = await (await client.post("/offer", json=body)).json()
        if answer["code"] == 0:
            self.session = answer["sessionid"]
            await self.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        return answer

    async def _receive(self, track: Any) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                frame = await track.recv()
                if track.kind == "video":
                    self.video.append((loop.time(), frame.pts, frame.to_ndarray(format="rgb24")))
                else:
                    self.audio.append((loop.time(), frame.pts, frame.to_ndarray().reshape(-1, 2)[:, 0]))
        except MediaStreamError:
            pass

    async def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Wait for something."""

        async def poll() -> None:
            while not condition():
                await asyncio.sleep(0.01)

        await asyncio.wait_for(poll(), seconds)

    async def close(self) -> None:
        """End the connection."""
        await self.pc.close()
