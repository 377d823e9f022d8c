"""The HTTP interface: speaking, interrupting, recording, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp
import numpy as np
import pytest
from helpers.live_server import form, wav, with_server

from nerfstudio_talking.media.reading import probe_video, read_audio, read_frames
from nerfstudio_talking.media.writing import SYNTHETIC_NOTICE
from nerfstudio_talking.serving.click_portrait import ClickPortrait
from nerfstudio_talking.serving.timeline import RATE

LOUD = (0.5 * np.sin(np.arange(2 * RATE) / 5)).astype(np.float32)


def test_a_file_is_spoken_and_interrupted():
    async def talk(client, registry):
        session = registry.open()
        answer = await (await client.post("/humanaudio", data=form(session.id, wav(LOUD)))).json()
        assert answer == {"code": 0, "msg": "ok", "data": {"segment": 1, "seconds": 2.0}}
        await asyncio.sleep(0.6)
        call = {"sessionid": session.id}
        assert (await (await client.post("/is_speaking", json=call)).json())["data"] is True
        assert (await (await client.post("/interrupt_talk", json=call)).json())["code"] == 0
        cut = session.current_block
        await asyncio.sleep(0.3)
        assert (await (await client.post("/is_speaking", json=call)).json())["data"] is False
        assert not session.timeline.samples(cut + 3, cut + 12).any()
        assert (await client.post("/close", json=call)).status == 200
        assert (await client.post("/close", json=call)).status == 200
        assert (await client.post("/is_speaking", json=call)).status == 400

    with_server(talk)


def test_events_are_sent_as_they_are_heard():
    async def talk(client, registry):
        session = registry.open()
        events = await client.get(f"/sse?sessionid={session.id}")
        assert events.headers["Content-Type"] == "text/event-stream"
        await client.post("/humanaudio", data=form(session.id, wav(LOUD[: RATE // 2])))
        seen = []
        while len(seen) < 2:
            line = (await events.content.readline()).decode()
            if line.startswith("data: "):
                event = json.loads(line[6:])
                seen += [(event["status"], event["segment"], event["time"])] if event["status"] != "stats" else []
        (_, _, start), (_, _, end) = seen
        assert [event[:2] for event in seen] == [("start", 1), ("end", 1)]
        assert end - start == pytest.approx(0.5, abs=0.021)
        registry.close(session)
        assert b"closed" in await events.content.read()

    with_server(talk)


def test_text_needs_a_program():
    async def talk(client, registry):
        session = registry.open()
        answer = await client.post("/human", json={"sessionid": session.id, "text": "hello", "type": "echo"})
        assert answer.status == 501 and "--tts-command" in (await answer.json())["msg"]

    with_server(talk)


SPEAK = """
import sys, io, wave
text = sys.stdin.read()
out = io.BytesIO()
file = wave.open(out, "wb"); file.setnchannels(1); file.setsampwidth(2); file.setframerate(16000)
file.writeframes(b"\\1\\1" * (1600 * len(text))); file.close()
sys.stdout.buffer.write(out.getvalue())
"""


def test_text_is_spoken_by_a_program_that_reads_it_from_its_input(tmp_path):
    script = tmp_path / "say.py"
    script.write_text(SPEAK)

    async def talk(client, registry):
        session = registry.open()
        text = "$(id); 'x"
        answer = await client.post("/human", json={"sessionid": session.id, "text": text, "type": "echo"})
        assert (await answer.json())["data"]["seconds"] == pytest.approx(0.1 * len(text))
        assert (await client.post("/human", json={"sessionid": session.id, "text": "x" * 2001})).status == 400
        assert (await client.post("/human", json={"sessionid": session.id, "text": "x", "type": "chat"})).status == 400

    with_server(talk, tts_command=f"{sys.executable} {script}")


@pytest.mark.parametrize("command", ["false", "/no/such/program", "sleep 60"])
def test_a_program_that_fails_is_said(command):
    async def talk(client, registry):
        session = registry.open()
        answer = await client.post("/human", json={"sessionid": session.id, "text": "x"})
        assert answer.status == 400 and "--tts-command" in (await answer.json())["msg"]

    with_server(talk, tts_command=command, upload_seconds=1.0)


def test_audio_is_fetched_from_named_hosts_alone():
    async def talk(client, registry):
        async def voice(_: aiohttp.web.Request) -> aiohttp.web.Response:
            return aiohttp.web.Response(body=wav(LOUD))

        other = aiohttp.web.Application()
        other.router.add_get("/voice.wav", voice)
        async with aiohttp.test_utils.TestServer(other) as server:
            session = registry.open()
            url = f"http://127.0.0.1:{server.port}/voice.wav"
            answer = await client.post("/human", json={"sessionid": session.id, "audio_url": url})
            assert (await answer.json())["data"]["seconds"] == 2.0
            for refused in (f"http://localhost:{server.port}/voice.wav", "file:///etc/passwd", "http://[", "x"):
                answer = await client.post("/human", json={"sessionid": session.id, "audio_url": refused})
                assert answer.status == 400, refused

    with_server(talk, audio_hosts=("127.0.0.1",))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"no audio", b"RIFF" + bytes(2000), wav(np.zeros(40, np.float32)), wav(np.zeros(4 * RATE, np.float32)),
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
    ],
)  # fmt: skip
def test_a_file_that_is_no_speech_is_refused(data):
    async def talk(client, registry):
        session = registry.open()
        answer = await client.post("/humanaudio", data=form(session.id, data, "../../etc/passwd"))
        assert answer.status == 400
        assert (await answer.json())["msg"].startswith("the audio: expected a file with speech")
        assert session.timeline.queued_seconds == 0

    with_server(talk, max_audio_seconds=3.0)


def test_large_uploads_are_refused_whatever_they_say_of_their_size():
    async def talk(client, registry):
        session = registry.open()
        answer = await client.post("/humanaudio", data=form(session.id, bytes(3 * 2**20)))
        assert answer.status == 413

        async def pieces():
            for _ in range(100):
                yield bytes(2**16)

        for kind in ("application/json", 'multipart/form-data; boundary="x"'):
            try:
                answer = await client.post("/human", data=pieces(), headers={"Content-Type": kind})
                assert answer.status in (400, 413)
            except aiohttp.ClientConnectionError:
                pass  # the server hung up in the middle, as it should
        assert (await client.get("/health")).status == 200

    with_server(talk, max_upload=2**20)


def test_a_body_that_never_comes_is_given_up():
    async def talk(client, registry):
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(b"POST /offer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        line = await asyncio.wait_for(reader.readline(), 5)
        assert b" 408 " in line
        writer.close()

    with_server(talk, upload_seconds=0.5)


@pytest.mark.parametrize("body", ["", "{", "[]", "null", "[" * 100000, '{"sessionid": ["x"]}', '{"sessionid": "x"}'])
def test_bodies_that_say_nothing_are_refused(body):
    async def talk(client, registry):
        for path in ("/human", "/interrupt_talk", "/record", "/motion", "/offer"):
            assert (await client.post(path, data=body)).status == 400, path

    with_server(talk)


def test_a_recording_shows_and_sounds_as_the_session_did(tmp_path):
    async def talk(client, registry):
        session = registry.open()
        call = {"sessionid": session.id}
        assert (await client.post("/record", json={**call, "type": "end_record"})).status == 409
        assert (await client.post("/record", json={**call, "type": "start_record"})).status == 200
        assert (await client.post("/record", json={**call, "type": "start_record"})).status == 409
        click = np.zeros(RATE, np.float32)
        click[8000:8640] = 0.6
        await client.post("/humanaudio", data=form(session.id, wav(click)))
        await asyncio.sleep(1.6)
        assert (await client.get(f"/record/{session.id}")).status == 404
        answer = await (await client.post("/record", json={**call, "type": "end_record"})).json()
        download = await client.get(answer["data"]["url"])
        assert download.headers["Content-Type"] == "video/mp4"
        path = tmp_path / "recording.mp4"
        path.write_bytes(await download.read())
        registry.close(session)
        await asyncio.sleep(0.1)
        assert (await client.get(answer["data"]["url"])).status == 404

        import av

        with av.open(str(path)) as container:
            assert container.metadata["comment"] == SYNTHETIC_NOTICE
        assert probe_video(path).fps == 25
        bright = [i for i, frame in enumerate(read_frames(path)) if frame.mean() > 150]
        loud = np.flatnonzero(np.abs(read_audio(path)) > 0.3) / RATE
        assert len(bright) in (1, 2)
        assert -0.045 < loud[0] - bright[0] / 25 < 0.045

    with_server(talk)


def test_documents_name_every_route_and_metric():
    async def talk(client, registry):
        registry.open("b")
        document = await (await client.get("/openapi.json")).json()
        served = {route.resource.canonical for route in client.app.router.routes() if route.resource is not None}
        page = {"/", "/app.js", "/connection.js", "/style.css"}
        assert set(document["paths"]) == served - page
        text = await (await client.get("/metrics")).text()
        assert "talking_sessions 1\n" in text and 'queue_depth_seconds{session="1",portrait="b"} 0' in text
        for name in ("first_frame_ms", "render_fps", "av_drift_ms"):
            assert f"# TYPE talking_{name} gauge" in text
        portraits = (await (await client.get("/portraits")).json())["data"]
        assert [portrait["name"] for portrait in portraits] == ["a", "b"]

    with_server(talk, [ClickPortrait("a"), ClickPortrait("b")])
