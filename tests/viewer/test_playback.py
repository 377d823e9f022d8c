"""The thread that shows the frame that the audio has reached, step by step."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.builders import write_talking_dataset

from nerfstudio_talking.dataset_io.track import load_track
from nerfstudio_talking.inference.performance import Performance
from nerfstudio_talking.media.reading import probe_video, read_audio
from nerfstudio_talking.provenance.credentials import VideoOrigin, read_credentials
from nerfstudio_talking.viewer.audio_clock import ClockReport
from nerfstudio_talking.viewer.playback import Playback, Scene
from nerfstudio_talking.viewer.recording import record

ORIGIN = VideoOrigin("model", "clip")


@pytest.fixture(scope="module")
def performance(tmp_path_factory) -> Performance:
    folder = tmp_path_factory.mktemp("clip")
    write_talking_dataset(folder)
    return Performance.of_clip(load_track(folder))


def render(track, position, camera, pose):
    """An image whose brightness is the frame's audio."""
    value = float(track.audio[position].mean())
    return {"rgb": torch.full((camera.height, camera.width, 3), 0.5 + 0.1 * value)}


def free_view(scale):
    raise AssertionError("the recording camera looks")


def level(performance: Performance, number: int) -> int:
    return round(255 * (0.5 + 0.1 * float(performance.windows[number].mean())))


@pytest.fixture
def shown(performance):
    """A playback that was not started, and the images that it shows."""
    images: list[np.ndarray] = []
    playback = Playback(Scene(performance), render, free_view, images.append, nullcontext, lambda _: None)
    return playback, images


def halted(position: float, stamp: float) -> ClockReport:
    return ClockReport("v1", False, position, 1.0, stamp)


def test_the_frame_at_the_audio_is_shown_once(shown, performance):
    playback, images = shown
    for stamp, number in enumerate((0, 7, 21, 3)):
        playback.clock.report(halted((number + 0.5) / 25, stamp), time.monotonic())
        assert playback._step()
        assert not playback._step()  # nothing has changed
        assert playback.number == number
        assert images[-1].shape == (48, 48, 3)
        assert abs(int(images[-1][0, 0, 0]) - level(performance, number)) <= 1
    assert len(images) == 4


def test_a_changed_scene_is_shown_anew(shown):
    playback, images = shown
    playback._step()
    playback.set_scene(replace(playback.scene, scale=0.5))
    playback._step()
    assert [image.shape for image in images] == [(48, 48, 3), (24, 24, 3)]


def test_the_delay_shows_an_earlier_frame(shown):
    playback, _ = shown
    playback.clock.report(halted(10.5 / 25, 0), time.monotonic())
    playback.set_scene(replace(playback.scene, delay=0.16))
    assert playback.number == 6


def test_another_voice_starts_at_its_beginning(shown, performance):
    playback, _ = shown
    playback.clock.report(halted(0.5, 0), time.monotonic())
    other = Performance(performance.portrait, performance.samples, performance.windows)
    playback.set_scene(replace(playback.scene, performance=other))
    assert playback.number == 0


def test_slow_rendering_is_shown_small_first(performance):
    images: list[np.ndarray] = []
    playback = Playback(Scene(performance), render, free_view, images.append, nullcontext, lambda _: None, cost=1.0)
    playback._step()
    playback._step()
    assert [image.shape for image in images] == [(12, 12, 3), (48, 48, 3)]


def test_a_recording_has_every_frame_and_the_audio(performance, tmp_path):
    done: list[int] = []
    content = record(
        Scene(performance), render, lambda _: (performance.portrait.camera, np.eye(4, dtype=np.float32)[:3]),
        nullcontext, lambda number, total: done.append(number) or True, ORIGIN,
    )  # fmt: skip
    assert content is not None
    (tmp_path / "v.mp4").write_bytes(content)
    info = probe_video(tmp_path / "v.mp4")
    assert (info.width, info.height, info.fps) == (48, 48, 25)
    assert info.duration == pytest.approx(22 / 25, abs=1e-3)
    assert done == list(range(1, 22))
    heard = read_audio(tmp_path / "v.mp4")
    assert np.corrcoef(heard[:14000], performance.samples[:14000])[0, 1] > 0.9
    found = read_credentials(tmp_path / "v.mp4")
    assert found is not None and found.origin == {"model": "model", "portrait": "clip"}


def test_a_recording_can_be_stopped(performance):
    view = lambda _: (performance.portrait.camera, np.eye(4, dtype=np.float32)[:3])  # noqa: E731
    assert record(Scene(performance), render, view, nullcontext, lambda number, total: number < 3, ORIGIN) is None
