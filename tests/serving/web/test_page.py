"""The page in a real browser: it plays, speaks files and the microphone, interrupts, records, and fits a phone."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
import soundfile
from helpers.chromium import Chromium, needs_chromium
from helpers.live_server import with_server
from PIL import Image

from nerfstudio_talking.serving.click_portrait import ClickPortrait

TONE = 0.6 * np.sign(np.sin(np.arange(4 * 48000) / 40)).astype(np.float32)
LISTEN = """(() => {
  const context = new AudioContext(), analyser = context.createAnalyser(), samples = new Float32Array(1024);
  context.createMediaStreamSource(document.getElementById("video").srcObject).connect(analyser);
  analyser.fftSize = 1024;
  window.level = () => { analyser.getFloatTimeDomainData(samples); return Math.max(...samples.map(Math.abs)); };
  const canvas = new OffscreenCanvas(8, 8).getContext("2d", { willReadFrequently: true });
  window.brightness = () => {
    canvas.drawImage(document.getElementById("video"), 0, 0, 8, 8);
    return canvas.getImageData(0, 0, 8, 8).data[0];
  };
})()"""


def by(name: str) -> str:
    return f'document.getElementById("{name}")'


@needs_chromium
@pytest.mark.slow
def test_a_browser_plays_speaks_interrupts_and_records(tmp_path):
    soundfile.write(tmp_path / "voice.wav", TONE, 48000)
    (tmp_path / "notes.txt").write_text("words")

    async def talk(client, registry):
        async with Chromium(tmp_path / "voice.wav") as page:
            await page.call("Page.navigate", url=str(client.make_url("/")))
            await page.until(f"{by('motion')}?.options.length === 2")
            await page.run(f"{by('connect')}.click()")
            await page.until(f'{by("first")}.textContent.endsWith("ms")')
            await page.until(f'{by("state")}.textContent === "listening"')
            await page.run(LISTEN)
            assert await page.run("brightness()") < 80 and await page.run("level()") < 0.01
            # a file
            await page.choose_file("#upload", tmp_path / "voice.wav")
            await page.until(f'{by("state")}.textContent === "speaking"')
            await page.until("level() > 0.3")
            await page.until("brightness() > 150")
            # an interruption: nothing is heard from the click on
            await page.run(f"{by('interrupt')}.click()")
            assert await page.run(f"{by('video')}.muted")
            await page.until(f'{by("state")}.textContent === "interrupted"', 2)
            await page.until("level() < 0.01 && brightness() < 80", 3)
            await page.until(f"!{by('video')}.muted", 3)
            # the microphone, and a recording of it
            await page.run(f"{by('record')}.click()")
            await page.run(f"{by('microphone')}.click()")
            await page.until("level() > 0.1 && brightness() > 100")
            await page.run(f"{by('microphone')}.click()")
            await page.run(f"{by('record')}.click()")
            await page.until(f"!{by('download')}.hidden")
            size = await page.run(f"fetch({by('download')}.href).then((x) => x.blob()).then((x) => x.size)")
            assert size > 5000
            # head motion, a file that is none, statistics
            await page.run(f'{by("motion")}.value = "still"; {by("motion")}.dispatchEvent(new Event("change"))')
            while registry.sessions()[0].speaker.mode != "still":
                await asyncio.sleep(0.05)
            await page.choose_file("#upload", tmp_path / "notes.txt")
            assert "speech" in await page.until(f"!{by('message')}.hidden && {by('message')}.textContent")
            for name in ("rendered", "received", "drift", "queue"):
                await page.until(f'{by(name)}.textContent !== "–"')
            # a phone
            await page.resize(390, 844)
            assert await page.run("document.documentElement.scrollWidth") <= 390
            with Image.open(io.BytesIO(await page.screenshot())) as image:
                assert image.size == (390, 844)
            await page.run(f"{by('connect')}.click()")
            await page.until(f'{by("state")}.textContent === "not connected"')
            assert page.errors == []
        for _ in range(100):
            if not registry.sessions():
                break
            await asyncio.sleep(0.02)
        assert registry.sessions() == []

    with_server(talk, [ClickPortrait(look_ahead=0.1)], timeout=90)
