"""`process_video` on a real clip, killed and resumed, and on input that cannot be used."""

import hashlib
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import write_talking_dataset
from helpers.paths import SAMPLE, needs_clips, shared_file

from nerfstudio_talking.audio.extract import extract_features
from nerfstudio_talking.audio.streaming import AudioWindows
from nerfstudio_talking.dataset_io.sequence import load_sequence
from nerfstudio_talking.dataset_io.track import load_track, save_track
from nerfstudio_talking.face.tracking import find_turn
from nerfstudio_talking.io.digests import file_digest
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import read_audio, read_frames
from nerfstudio_talking.media.writing import VideoWriter
from nerfstudio_talking.process.config import ProcessConfig
from nerfstudio_talking.process.run import _stage_keys, process_video
from nerfstudio_talking.process.steps import Job

CLIP = shared_file("clips/obama.mp4")
needs_clip = needs_clips("clips/obama.mp4")

# Forks a child for each point to die at (before any native thread runs), then one that may finish.
_KILLER = """
import os, signal, sys
from pathlib import Path
from PIL import Image
from nerfstudio_talking.process import run, stages
from nerfstudio_talking.process.config import ProcessConfig

video, output, straight = (Path(p) for p in sys.argv[1:4])

def process(folder, die_at):
    def die(point):
        if point == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
    mark, save = stages.Workspace.mark, Image.Image.save
    def marked(self, stage, key, **record):
        die("before " + stage)
        mark(self, stage, key, **record)
        die("after " + stage)
    def saved(self, path, *args, **options):
        save(self, path, *args, **options)
        die(Path(path).name)
    stages.Workspace.mark, Image.Image.save = marked, saved
    publish = run.save_track
    def published(*args):
        die("before track")
        publish(*args)
        die("after track")
    run.save_track = published
    run.process_video(ProcessConfig(video, folder, size=128, frames="0:40", report=False))

for folder, points in ((straight, [None]), (output, [POINTS, None])):
    for die_at in [p for entry in points for p in (entry if isinstance(entry, list) else [entry])]:
        child = os.fork()
        if child == 0:
            try:
                process(folder, die_at)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(3)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed == (die_at is not None) and (killed or status == 0), (die_at, status)
"""
_POINTS = ["000020.jpg", "before audio", "000011.png", "before refinement", "before track", "after track"]


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """The same clip processed straight and with a SIGKILL at several points; both paths hold spaces and letters."""
    root = tmp_path_factory.mktemp("zwei Ordner äöü")
    video = root / "clip 1 – ñ.mp4"
    shutil.copyfile(CLIP, video)
    script = _KILLER.replace("POINTS", repr(_POINTS))
    command = [sys.executable, "-c", script, str(video), str(root / "killed"), str(root / "straight")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return video, root / "straight", root / "killed"


@pytest.mark.slow
@needs_clip
def test_killed_and_resumed_gives_the_same_files(datasets):
    _, straight, killed = datasets
    assert digests(killed) == digests(straight)
    assert not (straight / ".work").exists()


@pytest.mark.slow
@needs_clip
def test_the_dataset_is_complete(datasets):
    video, straight, _ = datasets
    clip = load_sequence(straight)
    track = clip.track
    assert (track.num_frames, track.width, track.height, track.fps) == (40, 128, 128, 25.0)
    assert track.audio.shape[0] == 40
    assert np.isfinite(track.audio).all()
    assert track.audio_path is not None
    assert track.audio_normalization is not None
    # what the windows were normalised with gives them again from the audio
    stream = AudioWindows(track.audio_kind, track.audio_normalization, track.fps, "clip")
    windows = np.concatenate([stream.push(read_audio(track.audio_path)), stream.finish()])
    np.testing.assert_allclose(windows, track.audio, atol=0.05)  # audio.wav has 16 bits
    assert track.provenance["source"]["digest"] == hashlib.sha256(video.read_bytes()).hexdigest() != track.digest
    assert track.eyes.shape == (40, 2)
    assert track.landmarks is not None
    assert track.landmarks.shape == (40, 478, 2)
    assert track.provenance["camera_to_worlds"]["reprojection_px"] < 0.8 * 128 / 450 + 0.1
    refinement = track.provenance["camera_to_worlds"]["refinement"]
    assert refinement["colour_residual_after"] < 0.95 * refinement["colour_residual_before"]
    assert 0.5 < np.linalg.norm(track.camera_to_worlds[:, :, 3], axis=1).mean() < 1.5
    assert clip.background is not None
    assert clip.background.shape == (128, 128, 3)


@pytest.mark.slow
@needs_clip
def test_a_complete_dataset_is_left_unchanged(datasets):
    video, straight, _ = datasets
    before = (straight / "track.json").stat().st_mtime_ns
    process_video(ProcessConfig(video, straight, size=128, frames="0:40", report=False))
    assert (straight / "track.json").stat().st_mtime_ns == before


def write_video(path, frames=12, image=None, with_audio=True):
    """A small video, of noise or of one image."""
    rng = np.random.default_rng(0)
    audio = (0.1 * rng.normal(size=frames * 640).astype(np.float32), 16000) if with_audio else None
    with VideoWriter(path, 25.0, 96, 96, audio=audio) as writer:
        for _ in range(frames):
            writer.write(rng.integers(0, 255, size=(96, 96, 3), dtype=np.uint8) if image is None else image)
    return path


def refuse(config, *words):
    with pytest.raises(TalkingError) as caught:
        process_video(config)
    for word in words:
        assert word in str(caught.value)
    assert not (config.output / "track.json").exists()


def test_not_a_video(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("no video at all")
    refuse(ProcessConfig(path, tmp_path / "out"), "notes.mp4")


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.mp4"
    path.touch()
    refuse(ProcessConfig(path, tmp_path / "out"), "empty.mp4", "empty file")


def test_no_such_file(tmp_path):
    refuse(ProcessConfig(tmp_path / "gone.mp4", tmp_path / "out"), "gone.mp4", "no such file")


def test_no_audio(tmp_path):
    refuse(ProcessConfig(write_video(tmp_path / "mute.mp4", with_audio=False), tmp_path / "out"), "no audio stream")


def test_silent_audio(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", 25.0, 96, 96, audio=(np.zeros(16000, np.float32), 16000)) as writer:
        for _ in range(12):
            writer.write(np.full((96, 96, 3), 90, np.uint8))
    refuse(ProcessConfig(tmp_path / "v.mp4", tmp_path / "out"), "expected a voice", "silence")


def test_no_face(tmp_path):
    refuse(ProcessConfig(write_video(tmp_path / "noise.mp4"), tmp_path / "out"), "noise.mp4", "no face")


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_video_that_lies_on_its_side_or_stands_on_its_head(tmp_path, turns):
    """Without metadata that says so; the hint is what puts it upright."""
    path = tmp_path / "v.mp4"
    voice = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    with VideoWriter(path, 25.0, 256, 256, audio=(voice, 16000)) as writer:
        for frame in read_frames(SAMPLE / "sample.mp4", stop=14):
            writer.write(np.ascontiguousarray(np.rot90(frame, turns)))
    refuse(ProcessConfig(path, tmp_path / "out"), "expected upright faces", f"--rotate {90 * turns}")
    job = Job(ProcessConfig(path, tmp_path, rotate=90 * turns), None, 25.0, 0, 14, None, None)
    assert find_turn(islice(job.source_frames(), 0, 14, 6)) == 0


def test_a_range_without_frames(tmp_path):
    refuse(ProcessConfig(write_video(tmp_path / "v.mp4"), tmp_path / "out", frames="50:60"), "50:60")


def test_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TalkingError, match="can be written"):
        process_video(ProcessConfig(write_video(tmp_path / "v.mp4"), tmp_path / "file" / "out"))


def test_files_from_elsewhere_are_not_overwritten(tmp_path):
    (tmp_path / "out" / "images").mkdir(parents=True)
    (tmp_path / "out" / "images" / "holiday.jpg").write_text("mine")
    refuse(ProcessConfig(write_video(tmp_path / "v.mp4"), tmp_path / "out"), "images", "from elsewhere")
    assert (tmp_path / "out" / "images" / "holiday.jpg").read_text() == "mine"


@pytest.mark.slow
@needs_clip
def test_disk_full(tmp_path):
    target = tmp_path / "small"
    target.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(target)], capture_output=True
        ).returncode
    ):
        pytest.skip("cannot mount a small tmpfs here")
    try:
        refuse(ProcessConfig(CLIP, target / "out", frames="0:20", size=128), "No space left")
    finally:
        subprocess.run(["umount", str(target)], check=True)


def test_refinement_of_poses_concerns_what_uses_poses_alone():
    on, off = (
        _stage_keys(ProcessConfig(Path("v.mp4"), Path("out"), refine_poses=wanted), "digest", 25.0, "logmel")
        for wanted in (True, False)
    )
    assert {name for name in on if on[name] != off[name]} == {"refinement", "layers", "but features", "track", "clip"}


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({"frames": "0:60"}, False),
        ({"crop": "face"}, False),
        ({"size": 128}, False),
        ({"audio_offset": "2"}, False),
        ({"audio_model": "mfcc"}, True),
        ({"report": False}, True),
    ],
)
def test_the_clips_digest_covers_what_was_made_of_the_video(options, same):
    clips = [
        _stage_keys(config, "digest", 25.0, config.audio_model)["clip"]
        for config in (ProcessConfig(Path("v.mp4"), Path("out"), **more) for more in ({}, options))
    ]
    assert (clips[0] == clips[1]) == same


def test_a_finished_dataset_of_another_video_is_not_replaced_unasked(tmp_path):
    data = tmp_path / "data"
    track = write_talking_dataset(data)
    save_track(track.replace(provenance={"video": "anna.mp4", "source": {"digest": "0" * 64}}), data)
    before, video = digests(data), write_video(tmp_path / "v.mp4")
    with pytest.raises(TalkingError, match=r"a finished dataset of anna\.mp4.*--overwrite"):
        process_video(ProcessConfig(video, data))
    assert digests(data) == before
    with pytest.raises(TalkingError, match="no face"):
        process_video(ProcessConfig(video, data, overwrite=True))


def test_other_features_need_no_images(tmp_path, monkeypatch):
    """A finished dataset takes other audio features from its audio.wav; everything else stays as it is."""
    data, video = tmp_path / "data", write_video(tmp_path / "v.mp4")
    track = write_talking_dataset(data)
    config = ProcessConfig(video, data, audio_model="mfcc", report=False)
    keys = _stage_keys(config, file_digest(video), 25.0, "logmel")
    provenance = {"key": keys["track"], "key_but_features": keys["but features"], "audio": {"kind": "logmel"}}
    save_track(track.replace(provenance=provenance), data)
    before = digests(data)
    process_video(config)
    changed = load_track(data)
    expected = extract_features(read_audio(data / "audio.wav"), track.fps, track.num_frames, "mfcc")
    np.testing.assert_array_equal(changed.audio, expected.windows)
    assert changed.audio_kind == changed.provenance["audio"]["kind"] == "mfcc"
    after = digests(data)
    assert {name for name in before if before[name] != after.get(name)} == {"track.json", "track.npz"}
    assert after.keys() == before.keys()
    process_video(config)
    assert digests(data) == after


def test_bad_options():
    for changes in ({"size": 8}, {"fps": 0.0}, {"audio_offset": "late"}):
        with pytest.raises(TalkingError):
            ProcessConfig(Path("v.mp4"), Path("out"), **changes).validate()
