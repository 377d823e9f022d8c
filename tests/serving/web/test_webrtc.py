"""WebRTC as a browser meets it: first frame, sound and image together, interruptions, clients that misbehave."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from helpers.live_server import Peer, form, wav, with_server
from helpers.sender_reports import SenderReports

from nerfstudio_talking.serving.click_portrait import ClickPortrait
from nerfstudio_talking.serving.timeline import RATE

COLORS = [(255, 60, 60), (60, 255, 60), (60, 60, 255), (255, 255, 60)]
CLICK = np.zeros(RATE, np.float32)
CLICK[4000:4640] = 0.6


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_first_frame_and_synchronous_click(codec):
    async def talk(client, registry):
        peer, begun = Peer(), asyncio.get_running_loop().time()
        reports = SenderReports(peer.pc)
        answer = await peer.connect(client)
        assert f"s={answer['synthetic']}" in answer["sdp"].splitlines()
        codecs = [line for line in answer["sdp"].lower().splitlines() if line.startswith("a=rtpmap")]
        assert any("opus/48000" in line for line in codecs)
        assert any(codec in line for line in codecs) and not any(
            {"vp8": "h264", "h264": "vp8"}[codec] in c for c in codecs
        )
        await peer.until(lambda: peer.video)
        assert peer.video[0][0] - begun < 1.5
        await peer.until(lambda: reports.are_complete)
        await client.post("/humanaudio", data=form(peer.session, wav(CLICK)))
        await peer.until(lambda: any(image.mean() > 150 for _, _, image in peer.video))
        await asyncio.sleep(0.3)
        flash = next(pts for _, pts, image in peer.video if image.mean() > 150)
        pts, samples = next((p, s) for _, p, s in peer.audio if np.abs(s.astype(int)).max() > 6000)
        heard = pts + int(np.argmax(np.abs(samples.astype(int)) > 6000))
        offset = reports.seconds("audio", heard) - reports.seconds("video", flash)
        # a frame of 40 ms shows the click that falls into it: on average the image is early by half of that
        assert -0.045 < offset < 0.085, offset
        await peer.close()

    with_server(talk, codec=codec)


def test_an_interruption_reaches_the_listener():
    async def talk(client, registry):
        peer, loop = Peer(), asyncio.get_running_loop()
        await peer.connect(client)
        await peer.until(lambda: peer.video)
        voice = np.full(5 * RATE, 0.6, np.float32) * np.sign(np.sin(np.arange(5 * RATE) / 6)).astype(np.float32)
        await client.post("/humanaudio", data=form(peer.session, wav(voice)))
        await peer.until(lambda: peer.video[-1][2].mean() > 150)
        await client.post("/interrupt_talk", json={"sessionid": peer.session})
        cut = loop.time()
        await asyncio.sleep(0.7)
        loud = [time for time, _, samples in peer.audio if np.abs(samples.astype(int)).max() > 1000]
        assert loud and max(loud) - cut < 0.2 + 0.08  # 80 ms wait in this client's jitter buffer
        assert peer.video[-1][2].mean() < 60
        await peer.close()

    with_server(talk, [ClickPortrait(look_ahead=0.1)])


def test_four_sessions_show_their_own_portrait():
    async def talk(client, registry):
        peers = [Peer() for _ in COLORS]
        for index, peer in enumerate(peers):
            assert (await peer.connect(client, avatar=str(index)))["code"] == 0
        refused = Peer()
        answer = await refused.connect(client)
        assert answer["code"] == -503 and "at most 4 sessions" in answer["msg"]
        await refused.close()
        for peer in peers:
            await peer.until(lambda peer=peer: len(peer.video) > 12)
        for peer, color in zip(peers, COLORS):
            assert all(np.array_equal(image.mean((0, 1)) > 25, np.array(color) > 100) for _, _, image in peer.video)
        for peer in peers:
            await peer.close()
        await peers[0].until(lambda: not registry.sessions())

    with_server(talk, [ClickPortrait(str(i), color) for i, color in enumerate(COLORS)])


def test_the_microphone_is_spoken_at_once():
    from fractions import Fraction

    from aiortc import MediaStreamTrack
    from av.audio.frame import AudioFrame

    class Microphone(MediaStreamTrack):
        kind = "audio"
        count = 0

        async def recv(self) -> AudioFrame:
            await asyncio.sleep(0.02)
            level = 12000 * np.sign(np.sin(np.arange(960) / 20)) * (self.count > 40)
            frame = AudioFrame.from_ndarray(level.astype(np.int16)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, self.count * 960, Fraction(1, 48000)
            self.count += 1
            return frame

    async def talk(client, registry):
        peer = Peer()
        transceiver = peer.pc.getTransceivers()[0]
        transceiver.direction = "sendrecv"
        transceiver.sender.replaceTrack(Microphone())
        await peer.connect(client)
        await peer.until(lambda: peer.video and peer.video[-1][2].mean() > 120)
        assert registry.sessions()[0].is_speaking
        assert registry.sessions()[0].timeline.queued_seconds <= 0.2
        await peer.close()

    with_server(talk)


@pytest.mark.parametrize(
    "sdp",
    [
        "", "x", "v=0\r\n", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", "v=0\r\n" + "m=video 9 X 1\r\n" * 9,
        "a=b\r\n" * 30000,
        "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n",
        "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio x y z\r\na=candidate:x\r\n",
    ],
)  # fmt: skip
def test_a_garbled_offer_leaves_no_session(sdp):
    async def talk(client, registry):
        answer = await client.post("/offer", json={"sdp": sdp, "type": "offer"})
        assert answer.status == 400
        assert registry.sessions() == []

    with_server(talk)


def test_twenty_offers_at_once_are_answered_and_a_client_that_never_connects_is_dropped(monkeypatch):
    monkeypatch.setattr("nerfstudio_talking.serving.web.webrtc._CONNECT_SECONDS", 2.0)

    async def talk(client, registry):
        peers = [Peer() for _ in range(20)]
        for peer in peers:
            await peer.pc.setLocalDescription(await peer.pc.createOffer())
        offers = [{"sdp": peer.pc.localDescription.sdp, "type": "offer"} for peer in peers]
        answers = await asyncio.gather(*(client.post("/offer", json=offer) for offer in offers))
        assert sorted(answer.status for answer in answers) == [200] * 4 + [503] * 16
        assert len(registry.sessions()) == 4
        await peers[0].until(lambda: not registry.sessions(), 6)
        for peer in peers:
            await peer.close()

    with_server(talk)
