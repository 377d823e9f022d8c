"""A listener over WebRTC: when frames arrive, whose face they show, when clicks are heard and flashes seen."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtcpSrPacket

RATES = {"audio": 48000, "video": 90000}
_BRIGHT, _LOUD = 150, 6000
_PAIRED = 0.4


class Client:
    """One session.

    Args:
        url: of the server.
        avatar: name of the portrait.
        references: small images of the portraits by name; each received frame is compared with all of them.
    """

    def __init__(self, url: str, avatar: str, references: dict[str, np.ndarray] | None = None) -> None:
        self.url, self.avatar, self.session = url, avatar, ""
        self._references = references or {}
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.frames: list[float] = []
        self.blocks = 0
        self.size = (0, 0)
        self.swapped = 0
        self.margin = float("inf")
        """Least ratio of a frame's distance to the nearest other portrait to that to its own one."""
        self._clicks: dict[str, list[float]] = {kind: [] for kind in RATES}
        self._reports: dict[str, tuple[float, int]] = {}
        self._origin: dict[str, int] = {}
        self._bright = self._is_loud = False
        for kind in RATES:
            self._watch(self.pc.addTransceiver(kind, "recvonly").receiver, kind)
        self.pc.on("track", lambda track: asyncio.ensure_future(self._receive(track)))

    async def open(self, http: aiohttp.ClientSession) -> float:
        """Connect; seconds from the offer to the first decoded frame."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        begun = time.monotonic()
        body = {"sdp": self.pc.localDescription.sdp, "type": "offer", "avatar": self.avatar}
        async with http.post(f"{self.url}/offer", json=body) as answer:
            reply = await answer.json()
        if reply["code"] != 0:
            raise SystemExit(reply["msg"])
        self.session = reply["sessionid"]
        await self.pc.setRemoteDescription(RTCSessionDescription(reply["sdp"], "answer"))
        while not self.frames:
            await asyncio.sleep(0.005)
        return self.frames[0] - begun

    async def speak(self, http: aiohttp.ClientSession, data: bytes, every: float) -> None:
        """Have a file spoken again and again, each time about when the last one ends."""
        while True:
            form = aiohttp.FormData()
            form.add_field("sessionid", self.session)
            form.add_field("file", data, filename="voice.wav")
            async with http.post(f"{self.url}/humanaudio", data=form) as answer:
                await answer.read()
            await asyncio.sleep(every)

    def offsets(self) -> np.ndarray:
        """Seconds from each flash to its click; the flash stands in the frame that the click falls into."""
        audio, video = (np.array(self._clicks[kind]) for kind in ("audio", "video"))
        if not len(audio) or not len(video):
            return np.zeros(0)
        pairs = audio - video[np.abs(audio[:, None] - video).argmin(axis=1)]
        return pairs[np.abs(pairs) < _PAIRED]

    @property
    def num_clicks(self) -> int:
        """Clicks heard, whether or not their flash was seen."""
        return len(self._clicks["audio"])

    def _watch(self, receiver: Any, kind: str) -> None:
        """Note the first RTP timestamp, from which aiortc counts, and the sender's reports."""
        on_rtp, on_rtcp = receiver._handle_rtp_packet, receiver._handle_rtcp_packet

        async def rtp(packet: Any, arrival_time_ms: int) -> None:
            self._origin.setdefault(kind, packet.timestamp)
            await on_rtp(packet, arrival_time_ms)

        async def rtcp(packet: Any) -> None:
            if isinstance(packet, RtcpSrPacket):
                info = packet.sender_info
                self._reports[kind] = info.ntp_timestamp / 2**32, info.rtp_timestamp
            await on_rtcp(packet)

        receiver._handle_rtp_packet, receiver._handle_rtcp_packet = rtp, rtcp

    def _sent(self, kind: str, pts: int) -> float | None:
        """The time of a timestamp on the clock of the last report, as a browser finds it."""
        if kind not in self._reports:
            return None
        seconds, stamp = self._reports[kind]
        return seconds + ((self._origin[kind] + pts - stamp + 2**31) % 2**32 - 2**31) / RATES[kind]

    async def _receive(self, track: Any) -> None:
        try:
            while True:
                frame = await track.recv()
                if track.kind == "video":
                    self.frames.append(time.monotonic())
                    self.size = (frame.width, frame.height)
                    self._see(frame.to_ndarray(format="rgb24")[4::8, 4::8].astype(np.float32), frame.pts)
                else:
                    self.blocks += 1
                    self._hear(np.abs(frame.to_ndarray().reshape(-1, 2)[:, 0].astype(np.int32)) > _LOUD, frame.pts)
        except MediaStreamError:
            pass

    def _see(self, image: np.ndarray, pts: int) -> None:
        if self.avatar in self._references:
            distances = {name: float(np.abs(image - other).mean()) for name, other in self._references.items()}
            own = distances.pop(self.avatar)
            if distances:
                margin = min(distances.values()) / max(own, 1e-6)
                self.margin, self.swapped = min(self.margin, margin), self.swapped + (margin <= 1)
            return
        is_bright = bool(image.mean() > _BRIGHT)
        if is_bright and not self._bright and (sent := self._sent("video", pts)) is not None:
            self._clicks["video"].append(sent)
        self._bright = is_bright

    def _hear(self, loud: np.ndarray, pts: int) -> None:
        if loud.any() and not self._is_loud and (sent := self._sent("audio", pts + int(np.argmax(loud)))) is not None:
            self._clicks["audio"].append(sent)
        self._is_loud = bool(loud.any())
