"""A trained portrait in several sessions: each shows what it would show alone."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.builders import write_talking_dataset
from helpers.paths import SAMPLE
from helpers.portraits import untrained_portrait

from nerfstudio_talking.audio.extract import extract_features
from nerfstudio_talking.dataset_io.track import save_track
from nerfstudio_talking.inference.driver import PortraitDriver
from nerfstudio_talking.media.reading import read_audio
from nerfstudio_talking.serving.portraits import DrivenPortrait, Speaker
from nerfstudio_talking.serving.timeline import BLOCK, Timeline


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> PortraitDriver:
    folder = tmp_path_factory.mktemp("portrait")
    track = write_talking_dataset(folder)
    features = extract_features(read_audio(SAMPLE / "voice.flac"), track.fps, track.num_frames, "logmel")
    track = track.replace(audio=features.windows, audio_kind=features.kind, audio_normalization=features.normalization)
    save_track(track, folder)
    return PortraitDriver(untrained_portrait(folder))


@pytest.fixture(scope="module")
def portrait(driver) -> DrivenPortrait:
    return DrivenPortrait(driver, "anna", scale=0.5)


@pytest.fixture(scope="module")
def voices() -> list[np.ndarray]:
    samples = [read_audio(SAMPLE / name)[8000 : 8000 + 40 * BLOCK] for name in ("voice.flac", "other_voice.flac")]
    return [(s * 32767).astype(np.int16) for s in (*samples, np.zeros(40 * BLOCK), -samples[0])]


def spoken(speaker: Speaker, voice: np.ndarray) -> list[np.ndarray]:
    frames = []
    for start in range(0, len(voice), BLOCK):
        speaker.push(voice[start : start + BLOCK])
        while speaker.pending:
            frames.append(speaker.render()[1])
    return frames


def test_sessions_that_run_at_once_show_what_each_shows_alone(portrait, voices):
    alone = [spoken(portrait.open(Timeline()), voice) for voice in voices]
    assert len(alone[0]) == 13
    speakers = [portrait.open(Timeline()) for _ in voices]
    together: list[list[np.ndarray]] = [[] for _ in voices]
    rng = np.random.default_rng(0)
    for block in range(40):
        for index in rng.permutation(len(voices)):
            speakers[index].push(voices[index][block * BLOCK : (block + 1) * BLOCK])
        for index in rng.permutation(len(voices)):
            if speakers[index].pending:
                together[index].append(speakers[index].render()[1])
    for one, other in zip(alone, together):
        np.testing.assert_array_equal(np.stack(one), np.stack(other))
    assert any((a != b).any() for a, b in zip(alone[0], alone[1]))  # else nothing would be seen of a mix-up


def test_the_frames_are_those_of_the_drivers_own_stream(driver, portrait, voices):
    stream = driver.stream(scale=0.5)
    expected = []
    for start in range(0, len(voices[0]), BLOCK):
        stream.push(voices[0][start : start + BLOCK])
        expected += [frame for _, frame in stream.ready()]
    seen = spoken(portrait.open(Timeline()), voices[0])
    for a, b in zip(expected[5:], seen[5:]):  # the loop is smoothed across its seam, the driver's start is held
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 1


def test_a_closed_mouth_under_speech_is_that_of_silence(portrait, voices):
    class Closed(Timeline):
        def mouth_limit(self, time: float) -> float:
            return 0.0

    silent = spoken(portrait.open(Timeline()), voices[2])
    np.testing.assert_array_equal(spoken(portrait.open(Closed()), voices[0]), silent)
    np.testing.assert_array_equal(portrait.poster, silent[0])


def test_frames_that_are_skipped_change_no_later_one(portrait, voices):
    whole = spoken(portrait.open(Timeline()), voices[0])
    speaker = portrait.open(Timeline())
    speaker.push(voices[0])
    seen = {}
    while speaker.pending:
        if round(speaker.position * 25) % 3 == 0:
            speaker.skip()
        else:
            time, frame = speaker.render()
            seen[round(time * 25)] = frame
    assert set(seen) == {index for index in range(13) if index % 3}
    for index, frame in seen.items():
        np.testing.assert_array_equal(frame, whole[index])


def test_what_a_portrait_says_of_itself(portrait, driver):
    assert (portrait.name, portrait.fps, portrait.size) == ("anna", 25.0, (24, 24))
    assert portrait.motions == ("recorded", "still")
    assert portrait.open(Timeline()).look_ahead == driver.stream().look_ahead
