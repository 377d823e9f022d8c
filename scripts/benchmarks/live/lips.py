"""From a voice that is sent to the first frame with an open mouth, over the WebSocket, as a program uses it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import av
import numpy as np
from scipy.ndimage import uniform_filter

from nerfstudio_talking.serving.web.websocket import AUDIO, HEADER

RATE, BLOCK = 16000, 320
_SILENCE, _BURST = 1.6, 0.8
_OPEN = 0.25
"""Share of a burst's widest opening at which the mouth counts as open."""


class _Listener:
    """Takes what arrives: luminance images and audio, each with the time of its arrival."""

    def __init__(self) -> None:
        self.images: list[tuple[float, np.ndarray]] = []
        self.heard: list[float] = []
        self._decoder: Any = av.CodecContext.create("h264", "r")

    async def run(self, socket: aiohttp.ClientWebSocketResponse[Any]) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY:
                continue
            now, payload = time.monotonic(), message.data[HEADER.size :]
            if message.data[0] == AUDIO:
                if np.abs(np.frombuffer(payload, "<i2").astype(int)).max() > 500:
                    self.heard.append(now)
                continue
            for frame in self._decoder.decode(av.Packet(payload)):
                self.images.append((now, frame.to_ndarray(format="gray").astype(np.float32)))


def burst_of(voice: np.ndarray) -> np.ndarray:
    """The loudest part of a voice that begins at once, PCM16."""
    level = np.sqrt(np.convolve(np.square(voice), np.ones(1600) / 1600, mode="valid"))
    ahead = round(_BURST * RATE)
    start = int(np.argmax(level[: max(len(voice) - ahead, 1)]))
    burst = voice[start : start + ahead] / max(float(np.abs(voice).max()), 1e-6)
    return np.round(0.7 * 32767 * burst).astype("<i2")


async def measure_latency(url: str, voice: np.ndarray, repeats: int) -> dict[str, list[float]]:
    """Send bursts of a voice after silence, as fast as they are heard.

    Args:
        url: of the server.
        voice: 16 kHz mono.
        repeats: number of bursts.

    Returns:
        Seconds from the first sample sent to the first frame with an open mouth ('lips') and to the first audible block
        that came back ('audio'), of each burst in which there was one.
    """
    burst = burst_of(voice)
    listener, sent = _Listener(), []
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/stream?codec=h264", max_msg_size=0) as socket:
        hello = json.loads((await socket.receive()).data)
        fps = hello["fps"]
        await socket.send_json({"type": "motion", "mode": "still"})
        reading = asyncio.create_task(listener.run(socket))
        await asyncio.sleep(3)
        for number in range(repeats):
            await asyncio.sleep(_SILENCE + 0.013 * (number % 7))  # at every phase of frames and blocks
            sent.append(time.monotonic())
            for index in range(0, len(burst), BLOCK):
                await socket.send_bytes(burst[index : index + BLOCK].tobytes())
                await asyncio.sleep(max(sent[-1] + (index + BLOCK) / RATE - time.monotonic(), 0))
            await socket.send_json({"type": "end"})
        await asyncio.sleep(_SILENCE)
        reading.cancel()
    return {"lips": openings(listener.images, sent, fps), "audio": _first_after(listener.heard, sent)}


def openings(images: list[tuple[float, np.ndarray]], sent: list[float], fps: float) -> list[float]:
    """Seconds from each burst to the first frame with an open mouth.

    The mouth is where frames differ most between speech and silence of a head that keeps still.
    """
    times = np.array([time for time, _ in images])
    stack = np.stack([uniform_filter(image, 5) for _, image in images])
    rests, spans = [], []
    for begun in sent:
        last = int(np.searchsorted(times, begun))
        rests.append(stack[max(last - round(0.4 * fps), 0) : last].mean(axis=0))
        spans.append(slice(last, int(np.searchsorted(times, begun + 0.42 + _BURST))))
    change = np.mean([np.abs(stack[span] - rest).mean(axis=0) for span, rest in zip(spans, rests)], axis=0)
    side = max(stack.shape[1] // 12, 8)
    change[: stack.shape[1] // 2] = 0  # eyes blink
    row, column = np.unravel_index(int(np.argmax(uniform_filter(change, side))), change.shape)
    window = (slice(max(row - side // 2, 0), row + side // 2), slice(max(column - side // 2, 0), column + side // 2))
    found = []
    for begun, rest, span in zip(sent, rests, spans):
        moved = np.abs(stack[(span, *window)] - rest[window]).mean(axis=(1, 2))
        before = np.abs(stack[(slice(span.start - round(0.4 * fps), span.start), *window)] - rest[window])
        noise = float(before.mean(axis=(1, 2)).max())
        if len(moved) and moved.max() > 4 * noise:
            first = int(np.argmax(moved > max(_OPEN * moved.max(), 2 * noise)))
            found.append(float(times[span][first] - begun))
    return found


def _first_after(heard: list[float], sent: list[float]) -> list[float]:
    times = np.array(heard)
    return [float(times[times > begun][0] - begun) for begun in sent if (times > begun).any()]
