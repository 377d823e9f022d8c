"""A portrait driven by files and by live audio: the same frames, whatever the pieces."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.builders import write_talking_dataset
from helpers.paths import SAMPLE
from helpers.portraits import untrained_portrait
from helpers.speech_models import FakeModel, fake_transformers

from nerfstudio_talking.audio.extract import extract_features
from nerfstudio_talking.audio.normalization import FeatureNormalization
from nerfstudio_talking.audio.voice_activity import voice_activity
from nerfstudio_talking.dataset_io.track import save_track
from nerfstudio_talking.field_components.audio_normalization import AudioNormalization
from nerfstudio_talking.inference.driver import PortraitDriver
from nerfstudio_talking.inference.mouth_adaptation import adapted_mouth, mouth_adapter
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import probe_video, read_audio, read_frames
from nerfstudio_talking.motion.driving_track import driving_track

SMALL: dict[str, Any] = {"scale": 0.5}
VOICE = SAMPLE / "other_voice.flac"


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return read_audio(VOICE)[8000:27700]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return untrained_portrait(dataset(tmp_path_factory.mktemp("portrait"), "logmel"))


@pytest.fixture
def driver(model) -> PortraitDriver:
    return PortraitDriver(model)


def dataset(folder: Path, kind: str) -> Path:
    """A dataset whose audio features are those of a voice."""
    track = write_talking_dataset(folder)
    features = extract_features(read_audio(SAMPLE / "voice.flac"), track.fps, track.num_frames, kind)
    track = track.replace(audio=features.windows, audio_kind=features.kind, audio_normalization=features.normalization)
    save_track(track, folder)
    return folder


def streamed(driver: PortraitDriver, samples: np.ndarray, seed: int, **options) -> tuple[list[float], np.ndarray]:
    """Times and frames from pieces of one sample to a second."""
    rng = np.random.default_rng(seed)
    taken = []
    with driver.stream(**SMALL, **options) as stream:
        start = 0
        while start < len(samples):
            count = int(rng.choice([1, 100, 640, 3000, 16000]))
            stream.push(samples[start : start + count])
            start += count
            taken += stream.ready()
        stream.close()
        taken += stream.ready()
    return [time for time, _ in taken], np.stack([frame for _, frame in taken])


def difference(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_a_stream_gives_the_frames_of_the_file(driver, voice, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "voice.wav", voice, 16000, subtype="FLOAT")
    offline = np.stack(list(driver.drive(tmp_path / "voice.wav", **SMALL)))
    assert offline.shape == (round(len(voice) / 640), 24, 24, 3) and offline.dtype == np.uint8
    assert len(np.unique(offline.reshape(len(offline), -1), axis=0)) == len(offline)
    for seed in range(2):
        times, frames = streamed(driver, voice, seed)
        np.testing.assert_allclose(times, np.arange(len(offline)) / 25)
        assert difference(frames, offline) <= 1
    assert difference(np.stack(list(driver.drive(voice, **SMALL))), offline) <= 1


def test_int16_is_what_float_is(driver, voice):
    values = np.round(voice * 32767).astype(np.int16)
    offline = np.stack(list(driver.drive(values.astype(np.float32) / 32768, **SMALL)))
    assert difference(streamed(driver, values, 0)[1], offline) <= 1


def test_frames_are_those_of_the_whole_track(driver, model, voice):
    """Against the model driven by all windows at once, under the clip's normalisation."""
    frames = np.stack(list(driver.drive(voice, normalization="clip", **SMALL)))
    clip = model.sequence.track
    from nerfstudio_talking.audio.streaming import AudioWindows

    stream = AudioWindows("logmel", clip.audio_normalization, clip.fps, "clip")
    windows = np.concatenate([stream.push(voice), stream.finish()])
    activity = voice_activity(voice, clip.fps, len(windows))
    track = driving_track(clip, windows, "ping-pong", 1.0).replace(mouth_activity=activity)
    view = clip.camera.resize(24, 24)
    model.drive(track)
    try:
        cameras = view.to_nerfstudio(track.camera_to_worlds, track.times)
        whole = [model.get_outputs_for_camera(cameras[i : i + 1])["rgb"] for i in range(track.num_frames)]
    finally:
        model.drive(clip)
    assert difference(frames, (torch.stack(whole) * 255).round().to(torch.uint8).numpy()) <= 1


@pytest.mark.parametrize("kind", ["mfcc", "hubert"])
def test_other_features_stream_too(kind, voice, tmp_path, monkeypatch):
    fake_transformers(monkeypatch, lambda name: FakeModel())
    driver = PortraitDriver(untrained_portrait(dataset(tmp_path, kind)))
    offline = np.stack(list(driver.drive(voice, **SMALL)))
    # this speech model attends to nothing further than its context: blocks make no difference
    assert difference(streamed(driver, voice, 0)[1], offline) <= 1


def test_look_ahead_is_documented(driver, voice):
    stream = driver.stream(**SMALL)
    assert stream.look_ahead == pytest.approx(0.316, abs=1e-6)
    stream.push(voice[: round((stream.look_ahead + 2 / 25) * 16000) - 160])
    assert stream.pending == 2
    stream.push(voice[:160])
    assert stream.pending == 3
    assert [time for time, _ in stream.ready()] == [0, 1 / 25, 2 / 25]
    assert stream.pending == 0
    with pytest.raises(TalkingError, match="closed"):
        stream.close()
        stream.push(voice)


def test_the_model_is_left_as_it_was(driver, model, voice):
    track, conditioning = model.track, model.conditioning
    state = {name: value.clone() for name, value in model.state_dict().items()}
    arrays = {name: value.clone() for name, value in conditioning.named_buffers()}
    frames = driver.drive(voice, **SMALL)
    next(frames)
    assert model.track is track and model.conditioning is conditioning  # between two frames
    stream = driver.stream(**SMALL)
    stream.push(voice)
    next(iter(stream.ready()))
    assert model.track is track and model.conditioning is conditioning
    for name, value in conditioning.named_buffers():
        assert torch.equal(value, arrays[name])
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


def test_interleaved_streams_do_not_disturb_each_other(driver, model, voice):
    other = np.ascontiguousarray(voice[::-1])
    alone = [streamed(driver, samples, 0)[1] for samples in (voice, other)]
    assert difference(*alone) > 1
    frames: list[list[np.ndarray]] = [[], []]
    drivers = [driver, PortraitDriver(model)]
    streams = [one.stream(**SMALL) for one in drivers]
    for start in range(0, len(voice), 1600):
        for samples, stream, taken in zip((voice, other), streams, frames):
            stream.push(samples[start : start + 1600])
            taken += [frame for _, frame in stream.ready()]
    for stream, taken in zip(streams, frames):
        stream.close()
        taken += [frame for _, frame in stream.ready()]
    for taken, expected in zip(frames, alone):
        assert difference(np.stack(taken), expected) <= 1


def test_streams_in_threads(driver, voice):
    """Two streams at once, each with a thread that pushes and one that takes frames."""
    other = np.ascontiguousarray(voice[::-1])
    expected = [streamed(driver, samples, 0)[1] for samples in (voice, other)]
    streams = [driver.stream(**SMALL) for _ in expected]
    frames: list[list[np.ndarray]] = [[], []]

    def push(stream, samples):
        for piece in np.array_split(samples, 20):
            stream.push(piece)
        stream.close()

    def take(stream, taken):
        taken += [frame for _, frame in stream]

    threads = [threading.Thread(target=push, args=pair) for pair in zip(streams, (voice, other))]
    threads += [threading.Thread(target=take, args=pair) for pair in zip(streams, frames)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    for taken, wanted in zip(frames, expected):
        assert difference(np.stack(taken), wanted) <= 1


def test_an_abandoned_stream_ends_its_reader(driver, voice):
    taken = []
    with pytest.raises(KeyError), driver.stream(**SMALL) as stream:
        reader = threading.Thread(target=lambda: taken.extend(stream))
        reader.start()
        stream.push(voice[:1000])
        raise KeyError
    reader.join(timeout=60)
    assert not reader.is_alive() and not taken
    assert stream.pending == 0 and list(stream.ready()) == []


def test_poses(driver, voice):
    held, replayed, arranged = (
        np.stack(list(driver.drive(voice, pose=pose, smoothing=0.0, **SMALL)))
        for pose in ("hold", "replay", "ping-pong")
    )
    # 22 recorded frames
    assert np.array_equal(held[:22], replayed[:22]) and np.array_equal(held[:22], arranged[:22])
    assert difference(held[28], arranged[28]) > 1
    with pytest.raises(TalkingError, match="pose 'backwards'"):
        driver.drive(voice, pose="backwards")
    with pytest.raises(TalkingError, match="motion"):
        driver.drive(voice, pose="generated")
    with pytest.raises(TalkingError, match="whole audio"):
        driver.stream(pose="generated")
    with pytest.raises(TalkingError, match="normalization 'none'"):
        driver.drive(voice, normalization="none")
    with pytest.raises(TalkingError, match="scale"):
        driver.stream(scale=0)


def test_generated_motion(model, voice, tmp_path):
    from nerfstudio_talking.motion.generation import MotionTrack, save_motion

    rng = np.random.default_rng(0)
    pose = np.array([0, 0, 0, 0, 0, 0.8]) + 0.02 * rng.standard_normal((40, 6))
    motion = MotionTrack(25.0, pose, np.zeros((40, 4)), np.zeros(40), np.ones(40), model.track.digest)
    save_motion(motion, tmp_path / "motion.npz")
    driver = PortraitDriver(model, motion=tmp_path / "motion.npz")
    frames = np.stack(list(driver.drive(voice, pose="generated", **SMALL)))
    assert len(frames) == driver.num_frames(voice)
    plain = np.stack(list(driver.drive(voice, **SMALL)))
    assert difference(frames, plain) > 1
    with pytest.raises(TalkingError, match="as long as the audio"):
        driver.drive(np.tile(voice, 4), pose="generated")


def test_audio_features_from_a_file(model, voice, tmp_path):
    driver = PortraitDriver(model)
    count = driver.num_frames(voice)
    np.save(tmp_path / "features.npy", np.random.default_rng(0).standard_normal((count, 16, 80)).astype(np.float32))
    frames = list(driver.drive(voice, audio_features=tmp_path / "features.npy", **SMALL))
    assert len(frames) == count
    assert difference(np.stack(frames), np.stack(list(driver.drive(voice, **SMALL)))) > 1
    np.save(tmp_path / "other.npy", np.zeros((count, 16, 29), np.float32))
    with pytest.raises(TalkingError, match="as the portrait was trained with"):
        list(driver.drive(voice, audio_features=tmp_path / "other.npy", **SMALL))
    with pytest.raises(TalkingError, match="no such file"):
        list(driver.drive(voice, audio_features=tmp_path / "none.npy", **SMALL))


def test_silence_shows_the_mouth_at_rest_and_the_gain_its_motion(driver, model, voice):
    """Noise alone gives the frames of silence; a gain of 0 gives them for a voice, too, and one above 1 more motion."""
    noise = (0.02 * np.random.default_rng(0).standard_normal(len(voice))).astype(np.float32)
    still, hiss, quiet, usual, wide = (
        np.stack(list(driver.drive(samples, mouth_gain=gain, **SMALL))).astype(int)
        for samples, gain in ((0 * voice, 1.0), (noise, 1.0), (voice, 0.0), (voice, 1.0), (voice, 1.5))
    )
    assert difference(hiss, still) == difference(quiet, still) == 0
    moved = [np.abs(frames - still).mean() for frames in (usual, wide)]
    assert 0 < 1.2 * moved[0] < moved[1]
    with pytest.raises(TalkingError, match="mouth gain"):
        driver.stream(mouth_gain=-0.5)


def test_the_mouth_adapts_to_a_voice_unless_it_is_the_clips(driver, model, voice, monkeypatch):
    """A row of factors and offsets for each frame, of those before; none where the voice is taken for the clip's."""
    assert mouth_adapter(model, "clip") is None
    windows = driver.windows("adapt", live=False)
    features = np.concatenate([windows.push(voice), windows.finish()])
    activity = voice_activity(voice, driver.fps, len(features))
    adapt = mouth_adapter(model, "adapt")
    silent = adapt(features[0], 0.0)
    np.testing.assert_array_equal(silent, np.stack([np.ones_like(silent[0]), np.zeros_like(silent[1])]))
    rows = np.stack([adapt(*frame) for frame in zip(features, activity.tolist())])
    assert np.abs(rows[-1] - silent).max() > 0.01
    whole = adapted_mouth(model, features, activity)
    np.testing.assert_allclose(rows, whole, atol=1e-4)
    adapted = np.stack(list(driver.drive(voice, **SMALL))).astype(int)
    with monkeypatch.context() as patch:
        patch.setattr("nerfstudio_talking.inference.mouth_adaptation.mouth_adapter", lambda *_: None)
        plain = np.stack(list(driver.drive(voice, **SMALL))).astype(int)
    assert difference(adapted, plain) > 0


def test_a_voice_in_which_nobody_speaks_is_said(driver, voice, capsys):
    for samples, is_said in ((0.1 * np.random.default_rng(0).standard_normal(8000), True), (voice, False)):
        list(driver.drive(samples.astype(np.float32), **SMALL))
        assert ("No speech was found" in capsys.readouterr().out) == is_said


def test_features_of_other_programs_need_a_file(model, voice):
    driver = PortraitDriver(model)
    driver._portrait = driver._portrait.replace(audio_kind="deepspeech")
    for call in (lambda: driver.stream(), lambda: driver.drive(voice)):
        with pytest.raises(TalkingError, match="audio_features"):
            call()


def test_normalisation_comes_from_checkpoint_then_dataset_then_audio(model, monkeypatch):
    stored = model.sequence.track.audio_normalization
    found = PortraitDriver(model)._normalization
    np.testing.assert_allclose(found.mean, stored.mean, atol=1e-4)
    assert found.level_db == pytest.approx(stored.level_db, abs=1e-4)
    unknown = AudioNormalization(model.sequence.track.replace(audio_normalization=None))
    assert unknown.value() is None
    monkeypatch.setitem(model._modules, "audio_normalization", unknown)
    assert PortraitDriver(model)._normalization is stored
    bare = model.sequence.track.replace(audio_normalization=None)
    monkeypatch.setattr(model, "sequence", replace(model.sequence, track=bare))
    computed = PortraitDriver(model)._normalization
    assert isinstance(computed, FeatureNormalization) and computed.mean.shape == (80,)
    assert computed.level_db != stored.level_db  # that of the dataset's audio.wav
    silent = replace(model.sequence, track=bare.replace(audio_path=None))
    monkeypatch.setattr(model, "sequence", silent)
    with pytest.raises(TalkingError, match="Process the video again"):
        PortraitDriver(model).stream()


def test_files_that_cannot_be_driven(driver, tmp_path):
    with pytest.raises(TalkingError, match="no such file"):
        driver.num_frames(tmp_path / "none.wav")
    with pytest.raises(TalkingError, match="at least one frame"):
        driver.num_frames(np.zeros(100, np.float32))
    with pytest.raises(TalkingError, match="at least one frame"):
        list(driver.drive(np.zeros(100, np.float32), **SMALL))
    target = tmp_path / "spoken.mp4"
    with pytest.raises(TalkingError, match=r"none\.wav"):
        driver.write_video(tmp_path / "none.wav", target, **SMALL)
    assert not list(tmp_path.iterdir())


def test_write_video(driver, voice, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "voice.wav", voice, 16000, subtype="FLOAT")
    steps = []
    count = driver.write_video(tmp_path / "voice.wav", tmp_path / "a.mp4", advance=lambda: steps.append(1), **SMALL)
    driver.write_video(voice, tmp_path / "b.mp4", **SMALL)
    info = probe_video(tmp_path / "a.mp4")
    assert count == len(steps) == info.num_frames == round(len(voice) / 640)
    assert (info.width, info.height) == driver.frame_size(0.5) == (24, 24)
    np.testing.assert_array_equal(*(np.stack(list(read_frames(tmp_path / f"{name}.mp4"))) for name in "ab"))
    np.testing.assert_array_equal(*(read_audio(tmp_path / f"{name}.mp4") for name in "ab"))
    heard = read_audio(tmp_path / "a.mp4")[: len(voice)]
    assert np.corrcoef(heard, voice[: len(heard)])[0, 1] > 0.95


def test_a_bake_plays_the_same_offline_and_live(model, voice):
    from nerfstudio_talking.baking.config import BakeConfig
    from nerfstudio_talking.baking.fit import fit_bake
    from nerfstudio_talking.baking.renderer import BakeRenderer

    bake = fit_bake(model, BakeConfig(cell=1.0, views=4, rays_per_view=256, conditions=32))
    driver = PortraitDriver(model, bake)
    frames = np.stack(list(driver.drive(voice, normalization="clip", smoothing=0.0, **SMALL)))
    assert difference(streamed(driver, voice, 0, normalization="clip", smoothing=0.0)[1], frames) <= 1
    from nerfstudio_talking.audio.streaming import AudioWindows

    clip = model.sequence.track
    stream = AudioWindows("logmel", clip.audio_normalization, clip.fps, "clip")
    track = driving_track(clip, np.concatenate([stream.push(voice), stream.finish()]))
    model.drive(track.replace(mouth_activity=voice_activity(voice, clip.fps, track.num_frames)))
    try:
        renderer = BakeRenderer(model, bake)
        rendered = [renderer.render(frame, 24, 24)[0] for frame in range(len(frames))]
        whole = (torch.stack(rendered) * 255).round().to(torch.uint8).numpy()
    finally:
        model.drive(clip)
    assert difference(frames, whole) <= 1


def test_loading_is_lazy():
    code = (
        "import sys; from nerfstudio_talking.inference.driver import PortraitDriver;"
        "assert not {'torch', 'nerfstudio', 'librosa', 'av', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
