"""WebRTC: a session's audio and frames as tracks that follow its clock, and the listener's microphone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcicetransport import parse_stun_turn_uri
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.video.frame import VideoFrame

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.serving.encoding import Upsampler
from nerfstudio_talking.serving.marking import mark_description
from nerfstudio_talking.serving.session import Session
from nerfstudio_talking.serving.timeline import BLOCK, BLOCKS_PER_SECOND, RATE
from nerfstudio_talking.serving.web.sender_reports import report_session_time

WebrtcCodec = Literal["auto", "h264", "vp8"]
"""Video codec of WebRTC; 'auto' takes the first one that the browser offers."""
_LOG = logging.getLogger(__name__)
_VIDEO_CLOCK, _AUDIO_RATE = 90000, 48000
_LATE = 0.2
"""Seconds that a track may lag before it leaves out what it missed."""
_CONNECT_SECONDS = 15.0
_MAX_SDP, _MAX_SECTIONS, _MAX_CANDIDATES = 65536, 8, 64


class SessionAudioTrack(MediaStreamTrack):
    """What is heard, 20 ms at a time, each at its time: it waits for nothing but the clock."""

    kind = "audio"

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session, self._upsample = session, Upsampler()
        self._index: int | None = None
        self.first_timestamp = 0
        """The session's time, in ticks, of the encoder's timestamp 0: aiortc's Opus counts from its first frame."""

    async def recv(self) -> AudioFrame:
        """The next block at 48 kHz."""
        session, last = self._session, self._index
        self._index = _next(last, session.position * BLOCKS_PER_SECOND, _LATE * BLOCKS_PER_SECOND)
        if last is None:
            self.first_timestamp = self._index * BLOCK * _AUDIO_RATE // RATE
        await _until(self, session, self._index / BLOCKS_PER_SECOND)
        samples = self._upsample(session.audio_block(self._index))
        if last is not None and self._index > last + 1:
            samples[:] = 0  # Opus puts the first packet after a gap at its beginning: nothing is heard too early
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = _AUDIO_RATE
        frame.pts, frame.time_base = self._index * BLOCK * _AUDIO_RATE // RATE, Fraction(1, _AUDIO_RATE)
        session.note_audio(self._index)
        return frame


class SessionVideoTrack(MediaStreamTrack):
    """What is shown, at the portrait's rate; where a frame is late, the last one again."""

    kind = "video"

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._slot: int | None = None
        self.first_timestamp = 0
        """The session's time, in ticks, of the encoder's timestamp 0."""

    async def recv(self) -> VideoFrame:
        """The next frame."""
        session, fps = self._session, self._session.fps
        self._slot = _next(self._slot, session.position * fps, _LATE * fps)
        await _until(self, session, self._slot / fps)
        shown, image = session.frame_at(self._slot / fps)
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = round(self._slot / fps * _VIDEO_CLOCK), Fraction(1, _VIDEO_CLOCK)
        session.note_video(self._slot, shown)
        return frame


def _next(index: int | None, now: float, late: float) -> int:
    """The next index of a track, or the one that is due now: at the start, and where too much was missed."""
    if index is None or index + 1 < now - late:
        return int(now) + 1
    return index + 1


async def _until(track: MediaStreamTrack, session: Session, time: float) -> None:
    while (left := time - session.position) > 0:
        await asyncio.sleep(left)
    if session.is_closed or track.readyState != "live":
        raise MediaStreamError


def parse_ice_servers(addresses: tuple[str, ...]) -> list[RTCIceServer]:
    """STUN and TURN servers from stun:HOST:PORT and turn:USER:PASSWORD@HOST:PORT.

    Raises:
        TalkingError: an address is something else.
    """
    servers = []
    for address in addresses:
        scheme, _, rest = address.partition(":")
        account, _, host = rest.rpartition("@")
        user, _, password = account.partition(":")
        try:
            parse_stun_turn_uri(f"{scheme}:{host}")
        except ValueError as error:
            hint = "For instance stun:example.org:3478 or turn:user:password@example.org:3478."
            raise TalkingError("--ice-servers", expected="addresses", found=str(error), hint=hint) from error
        servers.append(RTCIceServer(urls=f"{scheme}:{host}", username=user or None, credential=password or None))
    return servers


async def connect(
    session: Session,
    sdp: str,
    ice_servers: list[RTCIceServer],
    codec: WebrtcCodec,
    on_closed: Callable[[], object],
) -> tuple[RTCPeerConnection, str]:
    """Answer a browser's offer; the connection then lives until one side closes it.

    Args:
        session: what is sent.
        sdp: session description of the offer.
        ice_servers: STUN and TURN servers, from `parse_ice_servers`.
        codec: of the video.
        on_closed: called once, when the connection ends or was not made within 15 s.

    Returns:
        The connection, and the session description of the answer.

    Raises:
        TalkingError: the offer cannot be read or has no media for us.
    """
    check_offer(sdp)
    pc = RTCPeerConnection(RTCConfiguration(iceServers=ice_servers))  # without a list, aiortc asks a public server
    tasks: set[asyncio.Task[None]] = set()

    async def watch() -> None:
        await asyncio.sleep(_CONNECT_SECONDS)
        if pc.connectionState != "connected":
            on_closed()

    @pc.on("connectionstatechange")
    def on_state() -> None:
        if pc.connectionState in ("failed", "closed"):
            for task in tasks:
                task.cancel()
            on_closed()

    @pc.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            _keep(tasks, _hear(track, session))

    try:
        for track in (SessionAudioTrack(session), SessionVideoTrack(session)):
            pc.addTrack(track)
        report_session_time(pc.getSenders(), session)
        await asyncio.wait_for(_negotiate(pc, sdp, codec), _CONNECT_SECONDS)
    except Exception as error:
        await pc.close()
        raise TalkingError(
            "the offer",
            expected="a session description that WebRTC can answer",
            found=f"{type(error).__name__}: {error}"[:200],
            hint="Send RTCPeerConnection.localDescription as it stands, with type 'offer'.",
        ) from error
    _keep(tasks, watch())
    return pc, mark_description(pc.localDescription.sdp)


async def _negotiate(pc: RTCPeerConnection, sdp: str, codec: WebrtcCodec) -> None:
    _prefer(pc, codec)
    await pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="offer"))
    await pc.setLocalDescription(await pc.createAnswer())


def check_offer(sdp: str) -> None:
    """Refuse an offer that asks for unreasonable work.

    Raises:
        TalkingError: it is too long, or names too many media sections or network addresses.
    """
    lines = sdp.splitlines()
    sections = sum(line.startswith("m=") for line in lines)
    candidates = sum(line.startswith("a=candidate") for line in lines)
    if len(sdp) > _MAX_SDP or not 1 <= sections <= _MAX_SECTIONS or candidates > _MAX_CANDIDATES:
        raise TalkingError(
            "the offer",
            expected=f"a session description of 1 to {_MAX_SECTIONS} sections and at most {_MAX_CANDIDATES} candidates",
            found=f"{len(sdp)} characters, {sections} sections, {candidates} candidates",
            hint="Send RTCPeerConnection.localDescription as it stands, with type 'offer'.",
        )


def _prefer(pc: RTCPeerConnection, codec: WebrtcCodec) -> None:
    if codec == "auto":
        return
    chosen = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType.lower() == f"video/{codec}"]
    for transceiver in pc.getTransceivers():
        if transceiver.kind == "video":
            transceiver.setCodecPreferences(chosen)


async def _hear(track: MediaStreamTrack, session: Session) -> None:
    """Hand the listener's microphone to the session."""
    resampler = AudioResampler(format="s16", layout="mono", rate=RATE)
    with contextlib.suppress(MediaStreamError, asyncio.CancelledError):
        while not session.is_closed:
            received = await track.recv()
            assert isinstance(received, AudioFrame)
            for frame in resampler.resample(received):
                session.hear(frame.to_ndarray().reshape(-1).astype(np.int16, copy=False))


def _keep(tasks: set[asyncio.Task[None]], coroutine: object) -> None:
    task: asyncio.Task[None] = asyncio.ensure_future(coroutine)  # type: ignore[arg-type]
    tasks.add(task)
    task.add_done_callback(tasks.discard)
