"""What a browser aligns audio and video by: timestamps and sender reports of ten minutes, whatever stalls."""

from __future__ import annotations

import asyncio
import random
import struct

import numpy as np
import pytest
from aiortc import RTCRtpSender
from aiortc.rtcrtpparameters import RTCRtcpParameters, RTCRtpCodecParameters, RTCRtpSendParameters
from aiortc.rtp import RtcpPacket, RtcpSrPacket, RtpPacket, is_rtcp
from helpers.simulated_loop import SimulatedLoop, simulate

from nerfstudio_talking.serving.click_portrait import ClickPortrait, ClickSpeaker
from nerfstudio_talking.serving.session import Session
from nerfstudio_talking.serving.timeline import BLOCK, RATE
from nerfstudio_talking.serving.web.sender_reports import report_session_time
from nerfstudio_talking.serving.web.webrtc import SessionAudioTrack, SessionVideoTrack
from nerfstudio_talking.serving.worker import RenderWorker

TICKS = {"audio": 48000, "video": 90000}
OPUS_DELAY = 312 / 48000


class StubEncoder:
    """The timestamps of aiortc's encoders; the payload says when something is heard or seen."""

    def __init__(self, kind: str) -> None:
        self.kind, self.first = kind, None

    def encode(self, frame, force_keyframe=False):
        if self.kind == "video":
            return [bytes([int(frame.to_ndarray(format="rgb24").mean()), 0, 0])], frame.pts
        if self.first is None:
            self.first = frame.pts
        loud = np.flatnonzero(np.abs(frame.to_ndarray().reshape(-1).astype(int)) > 8000)
        return [struct.pack("<BH", bool(len(loud)), loud[0] if len(loud) else 0)], frame.pts - self.first


class Receiver:
    """A transport that hands everything to a receiver: it notes clicks and flashes on the clock of the last report."""

    state, _stats_id = "connected", "t"

    def __init__(self, kind: str) -> None:
        self.kind, self.times, self.num_reports = kind, [], 0
        self._report, self._is_on = None, False

    def _register_rtp_sender(self, sender, parameters):
        pass

    def _unregister_rtp_sender(self, sender):
        pass

    async def _send_rtp(self, data: bytes) -> None:
        if is_rtcp(data):
            for packet in RtcpPacket.parse(data):
                if isinstance(packet, RtcpSrPacket):
                    self._report = packet.sender_info
                    self.num_reports += 1
            return
        packet = RtpPacket.parse(data)
        level, sample = struct.unpack("<BH", packet.payload)
        is_on = level > (150 if self.kind == "video" else 0)
        if is_on and not self._is_on and self._report is not None:
            ticks = (packet.timestamp + sample - self._report.rtp_timestamp + 2**31) % 2**32 - 2**31
            self.times.append(self._report.ntp_timestamp / 2**32 + ticks / TICKS[self.kind])
        self._is_on = is_on


class StallingSpeaker(ClickSpeaker):
    """Frames take 5 ms, and at times much longer."""

    loop: SimulatedLoop
    rng: random.Random

    def render(self):
        found = super().render()
        self.loop.stall(0.005 if self.rng.random() > 0.004 else self.rng.uniform(0.05, 0.5))
        return found


class StallingPortrait(ClickPortrait):
    def open(self, timeline, motion="recorded"):
        return StallingSpeaker(self)


async def run(loop: SimulatedLoop, seconds: int, stalls: bool, fps: float) -> tuple[list[float], list[float], Session]:
    """Click each second; the times of clicks and flashes as a receiver of both streams finds them."""
    rng = random.Random(3)
    StallingSpeaker.loop, StallingSpeaker.rng = loop, rng
    portrait = (StallingPortrait if stalls else ClickPortrait)(fps=fps, size=(16, 16))
    session, worker = Session(portrait, loop.time, capacity=seconds + 10), RenderWorker()
    worker.add(session)

    async def render() -> None:
        while True:
            if not worker.step():
                await asyncio.sleep(0.01)
            if stalls and rng.random() < 0.002:
                await asyncio.sleep(rng.uniform(0.05, 0.6))  # the thread gets no core

    async def stall() -> None:
        while stalls:
            await asyncio.sleep(rng.uniform(0.5, 8))
            loop.stall(rng.choice([0.03, 0.1, 0.35]))  # nothing gets one

    receivers = {kind: Receiver(kind) for kind in TICKS}
    tracks = {"audio": SessionAudioTrack(session), "video": SessionVideoTrack(session)}
    senders = [RTCRtpSender(track, receivers[kind]) for kind, track in tracks.items()]
    report_session_time(senders, session)
    tasks = [asyncio.ensure_future(render()), asyncio.ensure_future(stall())]
    click = np.zeros(RATE, np.int16)
    click[3310:3410] = 16000  # within one block, and so within one frame at 25 per second
    session.speak(np.concatenate([np.roll(click, BLOCK * rng.randrange(25)) for _ in range(seconds)]))
    for sender in senders:
        codec = RTCRtpCodecParameters(f"{sender.kind}/stub", TICKS[sender.kind], payloadType=100)
        await sender.send(RTCRtpSendParameters([codec], rtcp=RTCRtcpParameters(cname="x"), muxId=sender.kind))
    await asyncio.sleep(seconds)
    session.is_closed = True
    for task in tasks:
        task.cancel()
    for sender in senders:
        await sender.stop()
    assert all(receiver.num_reports > seconds / 2 for receiver in receivers.values())
    return receivers["audio"].times, receivers["video"].times, session


@pytest.mark.parametrize(("stalls", "fps", "seconds"), [(False, 30000 / 1001, 30), (True, 25.0, 600)])
def test_a_flash_is_seen_with_its_click_whatever_stalls(stalls, fps, seconds, monkeypatch, unchecked_shapes):
    monkeypatch.setattr("aiortc.rtcrtpsender.get_encoder", lambda codec: StubEncoder(codec.mimeType.split("/")[0]))
    monkeypatch.setattr("aiortc.rtcrtpsender.random", random.Random(5))

    async def main(loop: SimulatedLoop) -> None:
        heard, seen, session = await run(loop, seconds, stalls, fps)
        clicks, flashes = np.array(heard) + OPUS_DELAY, np.array(seen)  # the stub has no delay of its own
        nearest = flashes[np.abs(clicks[:, None] - flashes).argmin(axis=1)]
        offsets = clicks - nearest  # a frame shows the audio from its own time on
        found = np.abs(offsets) < 0.4  # else the flash fell into frames that were left out
        assert found.mean() > 0.9 and len(clicks) > 0.9 * seconds
        offsets = offsets[found]
        assert offsets.min() > -0.045 and offsets.max() < 0.045
        if not stalls:
            assert found.all() and offsets.min() > -1e-3
            return
        assert session.stats().skipped > 20
        thirds = [third.mean() for third in np.array_split(offsets, 3)]
        assert np.ptp(thirds) < 0.005  # no drift

    simulate(main)
