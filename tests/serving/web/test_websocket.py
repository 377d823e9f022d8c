"""The socket for programs: PCM in, frames and audio with their times out."""

from __future__ import annotations

import asyncio
import json

import av
import numpy as np
import pytest
from aiohttp import WSMsgType
from helpers.live_server import with_server
from helpers.paths import ROOT

from nerfstudio_talking.serving.click_portrait import ClickPortrait
from nerfstudio_talking.serving.timeline import BLOCK, RATE
from nerfstudio_talking.serving.web.websocket import AUDIO, FRAME, HEADER, KEY

CLICK = np.zeros(RATE // 2, np.int16)
CLICK[1600:2240] = 16000


class Reader:
    """Sorts what arrives."""

    def __init__(self, codec: str) -> None:
        self.codec, self.decoder = codec, None
        if codec != "rgb":
            self.decoder = av.CodecContext.create({"h264": "h264", "jpeg": "mjpeg"}[codec], "r")
        self.frames: list[tuple[float, np.ndarray]] = []
        self.audio: list[tuple[float, np.ndarray]] = []
        self.events: list[dict] = []
        self.keys: list[bool] = []

    async def read(self, socket, until, seconds=10.0) -> None:
        async def loop() -> None:
            while not until(self):
                self.take(await socket.receive())

        await asyncio.wait_for(loop(), seconds)

    def take(self, message) -> None:
        if message.type is WSMsgType.TEXT:
            self.events.append(json.loads(message.data))
            return
        assert message.type is WSMsgType.BINARY, message
        kind, flags, zero, number, time = HEADER.unpack_from(message.data)
        payload = message.data[HEADER.size :]
        assert zero == 0
        if kind == AUDIO:
            assert number == len(self.audio) and len(payload) == 2 * BLOCK
            self.audio.append((time / 1e6, np.frombuffer(payload, "<i2")))
        elif kind == FRAME:
            assert number == len(self.frames)
            self.keys.append(bool(flags & KEY))
            self.frames.append((time / 1e6, self.decoded(payload)))

    def decoded(self, payload: bytes) -> np.ndarray:
        if self.decoder is None:
            return np.frombuffer(payload, np.uint8).reshape(64, 64, 3)
        (frame,) = self.decoder.decode(av.Packet(payload))
        return frame.to_ndarray(format="rgb24")


@pytest.mark.parametrize("codec", ["h264", "jpeg", "rgb"])
def test_audio_comes_back_with_the_frames_that_speak_it(codec):
    async def talk(client, registry):
        reader = Reader(codec)
        async with client.ws_connect(f"/stream?codec={codec}") as socket:
            await reader.read(socket, lambda r: len(r.frames) > 2)
            hello = reader.events[0]
            assert hello["type"] == "hello" and hello["synthetic"].startswith("synthetic media")
            assert (hello["fps"], hello["width"], hello["height"], hello["sample_rate"]) == (25, 64, 64, RATE)
            for piece in np.array_split(CLICK, 25):
                await socket.send_bytes(piece.astype("<i2").tobytes())
            await socket.send_json({"type": "end"})
            await reader.read(socket, lambda r: any(e.get("event") == "end" for e in r.events))
        assert [event["event"] for event in reader.events[1:]] == ["start", "end"]
        flash = next(time for time, image in reader.frames if image.mean() > 150)
        time, samples = next((time, samples) for time, samples in reader.audio if samples.max() > 8000)
        heard = time + int(np.argmax(samples > 8000)) / RATE
        assert 0 <= heard - flash < 0.04
        assert heard - reader.events[1]["pts"] / 1e6 == pytest.approx(0.1, abs=0.021)
        assert reader.keys[0] and (codec == "h264") == (not all(reader.keys[1:40]))
        steps = np.diff([time for time, _ in reader.frames])
        np.testing.assert_allclose(steps, 0.04, atol=1e-5)
        await asyncio.sleep(0.1)
        assert registry.sessions() == []

    with_server(talk)


def test_the_buffer_is_cleared():
    async def talk(client, registry):
        reader = Reader("rgb")
        async with client.ws_connect("/stream?codec=rgb") as socket:
            await socket.send_bytes(np.full(RATE * 3, 12000, "<i2").tobytes())
            await reader.read(socket, lambda r: any(s.any() for _, s in r.audio))
            await socket.send_json({"type": "clear"})
            await reader.read(socket, lambda r: any(e.get("event") == "interrupted" for e in r.events))
            count = len(reader.audio)
            await reader.read(socket, lambda r: len(r.audio) > count + 15)
            assert not any(samples.any() for _, samples in reader.audio[count + 5 :])

    with_server(talk)


def test_messages_that_say_nothing_are_answered_and_change_nothing():
    async def talk(client, registry):
        reader = Reader("jpeg")
        async with client.ws_connect("/stream?codec=jpeg") as socket:
            bad = (b"\0", "x", "[1]", "null", '{"type": "clear"', '{"type": "motion", "mode": "x"}', "[" * 100000)
            for message in bad:
                await (socket.send_bytes if isinstance(message, bytes) else socket.send_str)(message)
            await socket.send_json({"type": "motion", "mode": "still"})
            await reader.read(socket, lambda r: sum(e["type"] == "error" for e in r.events) == len(bad))
            await reader.read(socket, lambda r: len(r.frames) > 3)
        assert (await client.get("/stream?codec=gif")).status == 400
        assert (await client.get("/stream?avatar=nobody")).status == 400

    with_server(talk)


def test_a_full_server_refuses_a_socket_and_frees_the_place_of_one_that_vanished():
    async def talk(client, registry):
        first = await client.ws_connect("/stream")
        assert (await client.get("/stream")).status == 503
        first._response.connection.transport.abort()  # no goodbye
        await asyncio.sleep(0.3)
        assert registry.sessions() == []
        assert (await client.ws_connect("/stream?codec=jpeg")).closed is False

    with_server(talk, max_sessions=1)


def test_a_reader_that_takes_nothing_is_left_alone_and_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("nerfstudio_talking.serving.web.websocket._SEND_SECONDS", 0.5)

    async def talk(client, registry):
        socket = await client.ws_connect("/stream?codec=rgb")
        transport = socket._response.connection.transport
        transport.pause_reading()
        session = registry.sessions()[0]
        for _ in range(100):
            await asyncio.sleep(0.1)
            if not registry.sessions():
                break
        assert session.is_closed
        transport.abort()

    with_server(talk, [ClickPortrait(size=(1024, 1024))])


def test_the_client_of_the_documentation_works():
    text = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("# LiveKit Agents")[0]
    names: dict = {}
    exec(compile(code, "docs/live.md", "exec"), names)

    async def talk(client, registry):
        async with names["TalkingClient"](str(client.make_url("/stream?codec=h264"))) as generator:
            assert generator.info["width"] == 64
            await generator.push_audio(CLICK.astype("<i2").tobytes())
            await generator.push_audio(None)
            images, heard = [], []
            async for time, item in generator:
                if isinstance(item, dict):
                    if item["event"] == "end":
                        break
                elif item.ndim == 1:
                    heard += [time] if item.any() else []
                else:
                    images += [time] if item.mean() > 150 else []
            assert 0 <= heard[0] - images[0] + 20000 <= 60000
            await generator.clear_buffer()

    with_server(talk)
