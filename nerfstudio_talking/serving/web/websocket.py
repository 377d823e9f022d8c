"""A session over one WebSocket: PCM in, encoded frames and PCM out, each with its time. For programs; see docs/live.md.

The calls are those of a LiveKit `VideoGenerator`: push audio, clear the buffer, iterate over frames.
"""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any, get_args

import numpy as np
from aiohttp import WSMsgType, web

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.serving.encoding import FrameEncoder, VideoCodec
from nerfstudio_talking.serving.marking import NOTICE
from nerfstudio_talking.serving.registry import SessionRegistry
from nerfstudio_talking.serving.session import Session
from nerfstudio_talking.serving.timeline import BLOCKS_PER_SECOND, RATE, SpeechEvent
from nerfstudio_talking.serving.web.security import problem

HEADER = struct.Struct("<BBHIq")
"""Of a binary message: kind (1 frame, 2 audio), flags (1: decodable by itself), 0, number, time in microseconds."""
FRAME, AUDIO, KEY = 1, 2, 1
_MAX_MESSAGE = 2**18
_SEND_SECONDS, _HEARTBEAT = 5.0, 10.0
_LATE = 0.5
"""Seconds of lag at which a reader that is slow misses what it was not sent."""


class StreamSocket:
    """The handler of `/stream`.

    Args:
        registry: the server's sessions.
    """

    def __init__(self, registry: SessionRegistry) -> None:
        self._registry = registry

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Open a session; it ends with the socket."""
        codec: Any = request.query.get("codec", "h264")
        if codec not in get_args(VideoCodec):
            return problem(400, "The codec is one of: " + ", ".join(get_args(VideoCodec)))
        session = self._registry.open(request.query.get("avatar") or None, request.query.get("motion", "recorded"))
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT, max_msg_size=_MAX_MESSAGE, compress=False, timeout=2.0)
        self._registry.on_close(session, lambda: asyncio.ensure_future(socket.close()))
        pump: asyncio.Task[None] | None = None
        try:
            await socket.prepare(request)
            width, height = session.portrait.size
            await socket.send_json(
                {
                    "type": "hello",
                    "sessionid": session.id,
                    "portrait": session.portrait.name,
                    "fps": session.fps,
                    "width": width,
                    "height": height,
                    "codec": codec,
                    "sample_rate": RATE,
                    "synthetic": NOTICE,
                }
            )
            pump = asyncio.create_task(_Pump(socket, session, codec).run())
            pump.add_done_callback(lambda _: _hang_up(request))
            await _receive(socket, session)
        finally:
            if pump is not None:
                pump.cancel()
            self._registry.close(session)
        return socket


def _hang_up(request: web.Request) -> None:
    """Drop the connection, without a goodbye that a reader who takes nothing would not take either."""
    if request.transport is not None:
        request.transport.abort()


async def _receive(socket: web.WebSocketResponse, session: Session) -> None:
    """Take audio and commands until the socket closes."""
    async for message in socket:
        try:
            if message.type is WSMsgType.BINARY:
                if len(message.data) % 2:
                    raise _unreadable("an odd number of bytes")
                session.speak(np.frombuffer(message.data, "<i2").astype(np.int16), is_last=False)
            elif message.type is WSMsgType.TEXT:
                _obey(json.loads(message.data), session)
        except (TalkingError, ValueError, RecursionError) as error:
            await socket.send_json({"type": "error", "msg": str(error)[:500]})


def _obey(command: Any, session: Session) -> None:
    kind = command.get("type") if isinstance(command, dict) else None
    if kind == "end":
        session.timeline.end_segment()
    elif kind == "clear":
        session.interrupt()
    elif kind == "motion" and session.set_motion(str(command.get("mode"))):
        pass
    else:
        raise _unreadable(f"{command!r:.80}")


def _unreadable(found: str) -> TalkingError:
    hint = "docs/live.md lists the messages."
    return TalkingError("the message", expected="PCM16 samples, or a command", found=found, hint=hint)


class _Pump:
    """Sends a session's frames, audio and events at their times."""

    def __init__(self, socket: web.WebSocketResponse, session: Session, codec: VideoCodec) -> None:
        self._socket, self._session = socket, session
        self._encoder = FrameEncoder(codec, *session.portrait.size, session.fps)
        self._numbers = {FRAME: 0, AUDIO: 0}
        self._events: list[SpeechEvent] = []
        self._stop = session.listen(self._events.append)

    async def run(self) -> None:
        """Until the session is closed, or the reader takes nothing for five seconds."""
        session, fps = self._session, self._session.fps
        block, slot = session.current_block + 1, int(session.position * fps) + 1
        try:
            while not session.is_closed:
                if block / BLOCKS_PER_SECOND < session.position - _LATE:
                    block, slot = session.current_block + 1, int(session.position * fps) + 1
                is_frame = slot / fps <= block / BLOCKS_PER_SECOND
                time = slot / fps if is_frame else block / BLOCKS_PER_SECOND
                await asyncio.sleep(max(time - session.position, 0))
                if is_frame:
                    await self._send_frame(slot)
                    slot += 1
                else:
                    await self._send(AUDIO, KEY, time, session.audio_block(block).astype("<i2").tobytes())
                    session.note_audio(block)
                    block += 1
                await self._send_events()
        except (ConnectionError, asyncio.TimeoutError):
            pass
        finally:
            self._stop()

    async def _send_frame(self, slot: int) -> None:
        shown, image = self._session.frame_at(slot / self._session.fps)
        data, is_key = await asyncio.to_thread(self._encoder.encode, image)
        await self._send(FRAME, KEY if is_key else 0, slot / self._session.fps, data)
        self._session.note_video(slot, shown)

    async def _send(self, kind: int, flags: int, time: float, payload: bytes) -> None:
        header = HEADER.pack(kind, flags, 0, self._numbers[kind] & 0xFFFFFFFF, round(time * 1e6))
        self._numbers[kind] += 1
        await asyncio.wait_for(self._socket.send_bytes(header + payload), _SEND_SECONDS)

    async def _send_events(self) -> None:
        while self._events:
            event = self._events.pop(0)
            time = round(event.block / BLOCKS_PER_SECOND * 1e6)
            text = {"type": "speech", "event": event.kind, "segment": event.segment, "pts": time}
            await asyncio.wait_for(self._socket.send_json(text), _SEND_SECONDS)
