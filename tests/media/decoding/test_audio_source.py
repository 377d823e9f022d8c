"""The track and the channels that hold the voice."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.media_files import tone, write_audio

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.decoding.audio_source import audio_source, loud_level
from nerfstudio_talking.media.reading import read_audio, read_audio_blocks

RATE = 16000


def write_tracks(path: Path, tracks: list[np.ndarray], layouts: list[str]) -> None:
    """A Matroska file with one track of 16-bit PCM for each array (channels, samples)."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=RATE, layout=layout) for layout in layouts]
        for stream, values, layout in zip(streams, tracks, layouts):
            packed = np.round(np.clip(values, -1, 1) * 32767).astype(np.int16).T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format="s16", layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
            container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))


VOICE = tone(2, RATE)
HISS = 3e-4 * np.random.default_rng(0).standard_normal(len(VOICE)).astype(np.float32)


@pytest.mark.parametrize("first", [0 * VOICE, HISS])
def test_another_track_is_taken_where_the_first_is_silent(tmp_path, first):
    path = tmp_path / "camera.mkv"
    write_tracks(path, [first[None], VOICE[None], tone(2, RATE, 900)[None]], ["mono"] * 3)
    source = audio_source(path)
    assert source.track == 1 and source.level == pytest.approx(20 * np.log10(0.3 / 2**0.5), abs=0.1)
    assert "track 2 is taken" in source.notes[0]
    assert np.abs(read_audio(path) - VOICE).max() < 1e-3
    np.testing.assert_array_equal(np.concatenate(list(read_audio_blocks(path))), read_audio(path))


def test_the_first_track_is_taken_where_it_speaks(tmp_path):
    path = tmp_path / "film.mkv"
    late = np.concatenate([np.zeros(30 * RATE, np.float32), VOICE])  # half a minute of silence first
    write_tracks(path, [0.1 * late[None], np.tile(VOICE, 16)[None]], ["mono"] * 2)
    source = audio_source(path)
    assert source.track == 0 and source.notes == ()


def test_channels_that_cancel_out(tmp_path):
    path = tmp_path / "antiphase.mkv"
    write_tracks(path, [np.stack([VOICE, -VOICE])], ["stereo"])
    assert "cancel" in audio_source(path).notes[0]
    assert np.abs(read_audio(path) - VOICE).max() < 1e-3


def test_a_voice_in_the_centre_of_six_channels_keeps_its_level(tmp_path):
    path = tmp_path / "surround.mkv"
    channels = np.zeros((6, len(VOICE)), np.float32)
    channels[2] = VOICE
    write_tracks(path, [channels], ["5.1"])
    assert audio_source(path).channel == 2
    assert np.abs(read_audio(path) - VOICE).max() < 1e-3


@pytest.mark.parametrize("right", [tone(2, RATE), tone(2, RATE, 700, 0.1), 0 * VOICE])
def test_other_channels_are_averaged(tmp_path, right):
    path = tmp_path / "stereo.flac"
    write_audio(path, np.stack([VOICE, right]), RATE, "flac")
    assert audio_source(path).channel is None
    assert np.abs(read_audio(path) - (VOICE + right) / 2).max() < 1e-3


def test_silence_is_measured(tmp_path):
    path = tmp_path / "silent.mkv"
    write_tracks(path, [np.zeros((2, 1000), np.float32)], ["stereo"])
    assert audio_source(path).level == -np.inf
    assert not read_audio(path).any()
    assert loud_level(np.zeros(5)) == loud_level(np.zeros(0)) == -np.inf
    assert loud_level(VOICE) == pytest.approx(-13.5, abs=0.1)
    write_audio(path, 0 * np.stack([VOICE, VOICE]), RATE, "flac")  # another file of the same name
    assert audio_source(path).rate == RATE
    with pytest.raises(TalkingError, match="no such file"):
        audio_source(tmp_path / "gone.wav")
