"""The studio in nerfstudio's viewer, as a browser sees it: panel, frames, sound, errors, recording."""

from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
from helpers.builders import write_talking_dataset
from helpers.paths import SAMPLE
from helpers.portraits import untrained_pipeline
from helpers.viser_browser import Browser

from nerfstudio_talking.audio.extract import extract_features
from nerfstudio_talking.dataset_io.track import save_track
from nerfstudio_talking.media.reading import read_audio


@pytest.fixture(scope="module")
def viewer(tmp_path_factory) -> Iterator:
    from nerfstudio.configs.base_config import ViewerConfig
    from nerfstudio.viewer.viewer import Viewer

    folder = tmp_path_factory.mktemp("portrait")
    track = write_talking_dataset(folder)
    features = extract_features(read_audio(SAMPLE / "voice.flac"), track.fps, track.num_frames, "logmel")
    save_track(track.replace(audio=features.windows, audio_normalization=features.normalization), folder)
    pipeline = untrained_pipeline(folder)
    config = ViewerConfig(websocket_host="127.0.0.1", websocket_port_default=7107)
    viewer = Viewer(config, folder / "viewer.log", folder, pipeline, train_lock=threading.Lock())
    viewer.init_scene(pipeline.datamanager.train_dataset, "completed")
    yield viewer
    viewer.viser_server.stop()


@pytest.fixture
def browser(viewer) -> Iterator[Browser]:
    browser = Browser(viewer.viser_server.get_port())
    browser.until(lambda: browser.frames and "Record mp4" in browser.ids and heard(browser))
    browser.set("Size", "full")
    browser.until(lambda: browser.frames[-1].shape == (48, 48, 3))
    yield browser
    browser.close()


def heard(browser: Browser) -> tuple[str, np.ndarray] | None:
    """Token and samples of the audio element in the panel."""
    for text in browser.texts.values():
        if "<audio" in text:
            token = re.search(r"\['(v\d+)'", text)
            address = re.search(r'base64,([^"]+)"', text)
            assert token is not None and address is not None
            return token[1], soundfile.read(io.BytesIO(base64.b64decode(address[1])))[0]
    return None


def play(browser: Browser, position: float, stamp: float, halted: bool = True) -> None:
    """Report the audio's clock as the browser's audio element does."""
    found = heard(browser)
    assert found is not None
    state = "halted" if halted else "playing"
    browser.set("Audio clock", f"{found[0]} {state} {position} 1 {stamp}")


def differs(image: np.ndarray, other: np.ndarray) -> bool:
    return image.shape != other.shape or np.abs(image.astype(int) - other).max() > 8


def changed(browser: Browser, before: np.ndarray) -> np.ndarray:
    """The first frame to come that differs from one before."""
    browser.until(lambda: differs(browser.frames[-1], before))
    return browser.frames[-1]


@pytest.mark.slow
def test_the_portrait_is_shown_at_full_size_and_follows_the_audio(browser):
    found = heard(browser)
    assert found is not None and len(found[1]) == round(22 / 25 * 16000)
    first = browser.frames[-1]
    play(browser, 10.5 / 25, 1)
    later = changed(browser, first)
    play(browser, 0.0, 2)
    assert not differs(changed(browser, later), first)
    count, tick = len(browser.frames), 0
    while len(browser.frames) < count + 4:  # a browser reports four times a second; without that the clock halts
        play(browser, (tick % 20) / 25, 3 + tick, halted=False)
        seen = len(browser.frames)
        browser.until(lambda seen=seen: len(browser.frames) > seen)
        tick += 1


@pytest.mark.slow
def test_the_image_fits_the_canvas(browser):
    browser.look(2.0)
    browser.set("Yaw", 10.0)
    browser.until(lambda: browser.frames[-1].shape == (48, 96, 3))
    assert browser.frames[-1][:, :20].max() < 16  # black borders, but for JPEG


@pytest.mark.slow
def test_controls_and_views_change_the_image(browser):
    images = [browser.frames[-1]]
    for label, value in (("Eyes", 0.0), ("Yaw", 15.0), ("Output", "depth"), ("Camera", "free")):
        browser.set(label, value)
        images.append(changed(browser, images[-1]))
    browser.look(1.0, turn=0.1)
    changed(browser, images[-1])


@pytest.mark.slow
def test_a_voice_is_uploaded_and_spoken(browser):
    browser.upload("Speak a file", "voice {1+1}.flac", (SAMPLE / "other_voice.flac").read_bytes())
    browser.until(lambda: len(heard(browser)[1]) != round(22 / 25 * 16000))
    _, samples = heard(browser)
    np.testing.assert_allclose(samples, read_audio(SAMPLE / "other_voice.flac"), atol=2**-15)
    assert not any("{1+1}" in text for text in browser.texts.values()), "MDX would run it"


@pytest.mark.slow
def test_what_fails_is_said(browser):
    browser.upload("Speak a file", "notes.wav", b"words")
    browser.until(lambda: browser.notifications)
    assert "expected a readable" in browser.notifications[-1].lower()
    assert "/tmp" not in browser.notifications[-1]
    file = io.BytesIO()
    soundfile.write(file, np.full(16000, 1e-4), 16000, format="WAV")
    browser.upload("Speak a file", "silence.wav", file.getvalue())
    browser.until(lambda: len(browser.notifications) > 1)
    assert "othing to hear" in browser.notifications[-1] or "silen" in browser.notifications[-1].lower()


@pytest.mark.slow
def test_a_recording_is_downloaded(browser, tmp_path):
    from nerfstudio_talking.media.reading import probe_video

    browser.set("Record mp4", True)
    browser.until(lambda: "portrait.mp4" in browser.files and browser.files["portrait.mp4"])
    (tmp_path / "p.mp4").write_bytes(browser.files["portrait.mp4"])
    info = probe_video(tmp_path / "p.mp4")
    assert (info.width, info.height, info.has_audio) == (48, 48, True)


@pytest.mark.slow
def test_two_browsers_do_not_disturb_each_other(viewer, browser):
    other = Browser(viewer.viser_server.get_port())
    other.until(lambda: other.frames and "Yaw" in other.ids)
    before = browser.frames[-1]
    other.set("Size", "full")
    other.set("Yaw", 15.0)
    other.until(lambda: other.frames[-1].shape == before.shape and differs(other.frames[-1], before))
    other.close()
    browser.set("Output", "depth")
    depth = changed(browser, before)
    browser.set("Output", "rgb")
    assert not differs(changed(browser, depth), before)


@pytest.mark.slow
def test_nerfstudios_own_view_is_a_switch_away(viewer, browser):
    (key,) = viewer.render_statemachines
    machine = viewer.render_statemachines[key]
    assert machine.next_action is None
    browser.set("Play here", False)
    browser.until(lambda: machine.output_keys)
    assert "rgb" in machine.output_keys
