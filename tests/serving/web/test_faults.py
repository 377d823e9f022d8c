"""Clients that vanish, say nothing, or send too much: the server lives, others are served, memory returns."""

from __future__ import annotations

import asyncio
import gc
import weakref

import aiohttp
import numpy as np
import psutil
import pytest
from helpers.live_server import Peer, form, wav, with_server

from nerfstudio_talking.cli.serve import Serve
from nerfstudio_talking.serving.config import ServeConfig
from nerfstudio_talking.serving.timeline import RATE


async def gone(registry, seconds: float) -> bool:
    """Whether all sessions end within some seconds."""
    for _ in range(round(seconds / 0.05)):
        if not registry.sessions():
            return True
        await asyncio.sleep(0.05)
    return False


def test_a_client_that_vanishes_in_the_middle_is_noticed_and_forgotten(monkeypatch):
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.1)
    monkeypatch.setattr("aioice.ice.CONSENT_FAILURES", 3)

    async def talk(client, registry):
        peer = Peer()
        await peer.connect(client)
        await peer.until(lambda: len(peer.video) > 3)
        session = weakref.ref(registry.sessions()[0])
        for transport in {t.receiver.transport.transport for t in peer.pc.getTransceivers()}:
            for protocol in transport._connection._protocols:  # no goodbye: its sockets are gone
                protocol.transport.abort()
        assert await gone(registry, 10)
        health = await (await client.get("/health")).json()
        assert health["data"]["free"] == 4
        for _ in range(40):
            gc.collect()
            if session() is None:
                break
            await asyncio.sleep(0.1)
        assert session() is None
        await asyncio.wait_for(peer.close(), 5)

    with_server(talk)


def test_sockets_that_say_nothing_or_half_keep_nobody_waiting():
    async def talk(client, registry):
        half = b"POST /offer HTTP/1.1\r\nHost: localhost\r\nContent-Le"
        writers = []
        for index in range(60):
            _, writer = await asyncio.open_connection(client.host, client.port)
            writer.write(half[: index % len(half)])
            writers.append(writer)
        async with client.ws_connect("/stream?codec=jpeg") as socket:
            for _ in range(10):
                assert (await asyncio.wait_for(socket.receive(), 5)).type is not aiohttp.WSMsgType.CLOSED
        for writer in writers:
            writer.transport.abort()
        assert await gone(registry, 5)

    with_server(talk)


def test_an_upload_of_50_mb_is_refused_and_its_memory_returns():
    async def talk(client, registry):
        session, process = registry.open(), psutil.Process()

        async def body():
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="v.wav"\r\n\r\n'
            for _ in range(800):
                yield bytes(2**16)

        before = process.memory_info().rss
        for _ in range(3):
            try:  # of a length that is not said
                kind = {"Content-Type": "multipart/form-data; boundary=x"}
                assert (await client.post("/humanaudio", data=body(), headers=kind)).status == 413
            except aiohttp.ClientConnectionError:
                pass  # the server hung up in the middle, as it should
        reader, writer = await asyncio.open_connection(client.host, client.port)
        head = "POST /humanaudio HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        writer.write(f"{head}Content-Length: {50 * 2**20}\r\n\r\n".encode())  # of one that is
        assert b" 413 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        gc.collect()
        assert process.memory_info().rss - before < 40 * 2**20
        good = await client.post("/humanaudio", data=form(session.id, wav(np.full(RATE, 0.1, np.float32))))
        assert good.status == 200

    with_server(talk)


def test_redirections_of_an_allowed_host_lead_nowhere():
    async def talk(client, registry):
        asked = []

        async def answer(request: aiohttp.web.Request) -> aiohttp.web.Response:
            asked.append(request.path)
            if request.path == "/voice.wav":
                return aiohttp.web.Response(status=302, headers={"Location": "/secret.wav"})
            return aiohttp.web.Response(body=wav(np.full(RATE, 0.1, np.float32)))

        other = aiohttp.web.Application()
        other.router.add_get("/{name}", answer)
        async with aiohttp.test_utils.TestServer(other) as server:
            url = f"http://127.0.0.1:{server.port}/voice.wav"
            call = {"sessionid": registry.open().id, "audio_url": url}
            assert (await client.post("/human", json=call)).status == 400
        assert asked == ["/voice.wav"]

    with_server(talk, audio_hosts=("127.0.0.1",))


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "http://169.254.169.254/x", "http://[::1]:{}/", "http://0/"])
def test_nothing_is_fetched_from_private_addresses_or_any_other_unless_allowed(url):
    async def talk(client, registry):
        asked = []

        async def answer(request: aiohttp.web.Request) -> aiohttp.web.Response:
            asked.append(request.path)
            return aiohttp.web.Response(body=wav(np.full(RATE, 0.1, np.float32)))

        other = aiohttp.web.Application()
        other.router.add_get("/{name:.*}", answer)
        async with aiohttp.test_utils.TestServer(other) as server:
            call = {"sessionid": registry.open().id, "audio_url": url.format(server.port)}
            refused = await client.post("/human", json=call)
            assert refused.status == 400 and "no host is allowed" in (await refused.json())["msg"]
        assert asked == []

    with_server(talk)


def test_the_server_is_reached_from_its_own_machine_alone_unless_told():
    assert Serve().host == ServeConfig().host == "127.0.0.1"
