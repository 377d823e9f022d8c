"""A voice of which any frame can be rendered: the frames are the driver's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.builders import write_talking_dataset
from helpers.paths import SAMPLE
from helpers.portraits import untrained_portrait

from nerfstudio_talking.audio.extract import extract_features
from nerfstudio_talking.dataset_io.track import save_track
from nerfstudio_talking.inference.controls import PortraitControls
from nerfstudio_talking.inference.driver import PortraitDriver
from nerfstudio_talking.inference.frames import outputs_renderer
from nerfstudio_talking.inference.performance import Performance
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import read_audio
from nerfstudio_talking.media.writing import write_wav


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> PortraitDriver:
    folder = tmp_path_factory.mktemp("portrait")
    track = write_talking_dataset(folder)
    features = extract_features(read_audio(SAMPLE / "voice.flac"), track.fps, track.num_frames, "logmel")
    save_track(track.replace(audio=features.windows, audio_normalization=features.normalization), folder)
    return PortraitDriver(untrained_portrait(folder))


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    path = tmp_path_factory.mktemp("voice") / "v.wav"
    write_wav(path, read_audio(SAMPLE / "other_voice.flac")[8000:27700], 16000)
    return path


def test_frames_in_any_order_are_those_of_the_driver(driver, voice):
    performance = Performance.of_file(driver, voice)
    expected = list(driver.drive(voice))
    assert performance.num_frames == len(expected)
    whole = performance.prepare("ping-pong")
    render = outputs_renderer(driver.model, driver.track, None)
    for number in (len(expected) - 1, 0, 11, 3):
        track, position = performance.frame(number, whole, PortraitControls())
        rgb = render(track, position, driver.track.camera, track.camera_to_worlds[position])["rgb"]
        frame = (rgb * 255).round().to(torch.uint8).numpy()
        assert np.abs(frame.astype(int) - expected[number]).max() <= 1


def test_the_clip_itself_has_its_recorded_poses_and_audio(driver):
    performance = Performance.of_clip(driver.track)
    assert performance.prepare("replay") is driver.track
    assert len(performance.samples) == round(driver.track.duration * 16000)
    assert not performance.is_silent


def test_silence_is_known(driver):
    silent = Performance(driver.track, np.full(1000, 5e-4, np.float32), driver.track.audio)
    assert silent.is_silent


def test_a_file_that_is_no_audio_is_named(driver, tmp_path):
    (tmp_path / "notes.wav").write_text("words")
    with pytest.raises(TalkingError, match=r"notes\.wav"):
        Performance.of_file(driver, tmp_path / "notes.wav")


def test_generated_motion_wants_a_model(driver, voice, tmp_path):
    performance = Performance.of_file(driver, voice)
    (tmp_path / "m").write_text("words")
    with pytest.raises(TalkingError):
        performance.prepare("generated", tmp_path / "m", 0)
