"""WebRTC as a browser meets it: first frame, sound and image together, interruptions, clients that misbehave."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from helpers.live_server import Peer, form, wav, with_server

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.serving.click_portrait import ClickPortrait
from nerfstudio_talking.serving.timeline import RATE
from nerfstudio_talking.serving.web.webrtc import SessionAudioTrack, SessionVideoTrack, parse_ice_servers

COLORS = [(255, 60, 60), (60, 255, 60), (60, 60, 255), (255, 255, 60)]
CLICK = np.zeros(RATE, np.float32)
CLICK[4000:4640] = 0.6


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_a_click_is_seen_in_the_frame_in_which_it_is_heard(codec, monkeypatch):
    origins: dict[str, int] = {}  # the session's time of what is sent first: there the receiver begins to count
    for track in (SessionAudioTrack, SessionVideoTrack):

        async def recv(self, original=track.recv):
            frame = await original(self)
            origins.setdefault(self.kind, frame.pts)
            return frame

        monkeypatch.setattr(track, "recv", recv)

    async def talk(client, registry):
        peer = Peer()
        answer = await peer.connect(client)
        assert f"s={answer['synthetic']}" in answer["sdp"].splitlines()
        codecs = [line for line in answer["sdp"].lower().splitlines() if line.startswith("a=rtpmap")]
        assert any("opus/48000" in line for line in codecs)
        assert any(codec in line for line in codecs) and not any(
            {"vp8": "h264", "h264": "vp8"}[codec] in c for c in codecs
        )
        await peer.until(lambda: peer.video and peer.audio)
        await client.post("/humanaudio", data=form(peer.session, wav(CLICK)))
        await peer.until(lambda: any(image.mean() > 150 for _, _, image in peer.video))
        await peer.until(lambda: any(np.abs(samples.astype(int)).max() > 6000 for _, _, samples in peer.audio))
        flash = next(pts for _, pts, image in peer.video if image.mean() > 150)
        pts, samples = next((p, s) for _, p, s in peer.audio if np.abs(s.astype(int)).max() > 6000)
        heard = pts + int(np.argmax(np.abs(samples.astype(int)) > 6000))
        offset = (heard + origins["audio"]) / 48000 - (flash + origins["video"]) / 90000
        assert -0.001 < offset < 0.04 + 0.008  # it falls into the frame of 40 ms; the Opus encoder delays by 6.5 ms
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


def test_ice_servers_are_read_with_their_account():
    stun, turn = parse_ice_servers(("stun:example.org:3478", "turn:me:a:b@example.org"))
    assert (stun.urls, stun.username, stun.credential) == ("stun:example.org:3478", None, None)
    assert (turn.urls, turn.username, turn.credential) == ("turn:example.org", "me", "a:b")
    with pytest.raises(TalkingError, match="--ice-servers"):
        parse_ice_servers(("example.org",))


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
