"""Clients of a running `ns-talking serve` for a while: delays, frame rates, synchrony, and whether anything drifts.

    ns-talking serve --load-config outputs/.../config.yml --test-signal True
    python scripts/benchmarks/live/soak.py --url http://127.0.0.1:8010 --voice voice.wav --seconds 600
    python scripts/benchmarks/live/soak.py --avatar test-signal --seconds 600     # clicks: offset of sound and image

With a voice it is spoken without a pause. With the test signal a click is sent each second; its flash is compared with
it on the clock of the sender's RTCP reports, as a browser does. Server processor time is measured with --pid.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import time
import wave
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtcpSrPacket

RATES = {"audio": 48000, "video": 90000}


class Client:
    """One listener: notes when frames and clicks arrive."""

    def __init__(self, url: str, avatar: str | None) -> None:
        self.url, self.avatar, self.session = url, avatar, ""
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.frames: list[float] = []
        self.blocks = 0
        self.clicks: dict[str, list[float]] = {"audio": [], "video": []}
        self._reports: dict[str, tuple[float, int]] = {}
        self._origin: dict[str, int] = {}
        self._bright = self._loud = False
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
            raise RuntimeError(reply["msg"])
        self.session = reply["sessionid"]
        await self.pc.setRemoteDescription(RTCSessionDescription(reply["sdp"], "answer"))
        while not self.frames:
            await asyncio.sleep(0.005)
        return self.frames[0] - begun

    def _watch(self, receiver: Any, kind: str) -> None:
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
                    is_bright = float(frame.to_ndarray(format="gray")[::8, ::8].mean()) > 150
                    if is_bright and not self._bright and (sent := self._sent("video", frame.pts)) is not None:
                        self.clicks["video"].append(sent)
                    self._bright = is_bright
                else:
                    self.blocks += 1
                    samples = np.abs(frame.to_ndarray().reshape(-1, 2)[:, 0].astype(np.int64)) > 6000
                    if samples.any() and not self._loud:
                        sent = self._sent("audio", frame.pts + int(np.argmax(samples)))
                        if sent is not None:
                            self.clicks["audio"].append(sent)
                    self._loud = bool(samples.any())
        except MediaStreamError:
            pass

    def offsets(self) -> np.ndarray:
        """Seconds from each flash to its click; the flash stands in the frame that the click falls into."""
        audio, video = (np.array(self.clicks[kind]) for kind in ("audio", "video"))
        nearest = [video[np.argmin(np.abs(video - click))] for click in audio] if len(video) else []
        pairs = np.array([click - flash for click, flash in zip(audio, nearest)])
        return pairs[np.abs(pairs) < 0.4]


async def feed(http: aiohttp.ClientSession, client: Client, data: bytes, seconds: float, every: float) -> None:
    """Have a file spoken again and again, each time before the last one has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        form = aiohttp.FormData()
        form.add_field("sessionid", client.session)
        form.add_field("file", data, filename="voice.wav")
        async with http.post(f"{client.url}/humanaudio", data=form) as answer:
            await answer.read()
        await asyncio.sleep(every)


def clicks() -> bytes:
    """A second with a beep of 40 ms in it."""
    samples = np.zeros(16000, "<i2")
    samples[4000:4640] = np.tile(np.repeat([12000, -12000], 8), 40)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def duration(data: bytes) -> float:
    """Seconds of a wav file."""
    with wave.open(io.BytesIO(data)) as file:
        return file.getnframes() / file.getframerate()


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """The measurements."""
    data = clicks() if options.voice is None else options.voice.read_bytes()
    server = None if options.pid is None else psutil.Process(options.pid)
    async with aiohttp.ClientSession() as http:
        clients = [Client(options.url, options.avatar) for _ in range(options.sessions)]
        first = [await client.open(http) for client in clients]
        busy = 0.0 if server is None else sum(server.cpu_times()[:2])
        memory = [] if server is None else [server.memory_info().rss]
        begun = time.monotonic()
        marks = [len(client.frames) for client in clients]
        feeds = [asyncio.create_task(feed(http, c, data, options.seconds, duration(data))) for c in clients]
        rates: list[list[float]] = []
        while time.monotonic() - begun < options.seconds:
            before = time.monotonic()
            await asyncio.sleep(10)
            counts = [len(client.frames) for client in clients]
            spent = time.monotonic() - before
            rates.append([(count - mark) / spent for count, mark in zip(counts, marks)])
            marks = counts
            if server is not None:
                memory.append(server.memory_info().rss)
        spent = time.monotonic() - begun
        busy = None if server is None else sum(server.cpu_times()[:2]) - busy
        async with http.get(f"{options.url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        for task in feeds:
            task.cancel()
        for client in clients:
            await client.pc.close()
    offsets = np.concatenate([client.offsets() for client in clients])
    thirds = np.array_split(offsets, 3)
    return {
        "seconds": round(spent, 1),
        "first_frame_s": [round(value, 3) for value in first],
        "received_fps": {"mean": round(float(np.mean(rates)), 2), "least of 10 s": round(float(np.min(rates)), 2)},
        "audio_blocks_per_s": [round(client.blocks / spent, 2) for client in clients],
        "click_minus_flash_ms": {
            f"{share:.0%}": round(1000 * float(np.quantile(offsets, share)), 1)
            for share in (0, 0.01, 0.5, 0.99, 1)
            if len(offsets)
        },
        "median of each third_ms": [round(1000 * float(np.median(t)), 1) for t in thirds if len(t)],
        "clicks": len(offsets),
        "server_cpu_per_s": None if busy is None else round(busy / spent, 3),
        "server_rss_mb": [round(value / 2**20) for value in (memory[:1] + memory[-1:])],
        "metrics": [line for line in lines if not line.startswith("#")],
    }


def main() -> None:
    """Print the measurements as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8010")
    parser.add_argument("--avatar", default=None, help="Name of the portrait.")
    parser.add_argument("--voice", type=Path, default=None, help="Wav file to speak; clicks where there is none.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--pid", type=int, default=None, help="Process of the server, for its processor time.")
    print(json.dumps(asyncio.run(run(parser.parse_args())), indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
