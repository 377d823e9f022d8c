"""Every writer on a full disk and in a folder that cannot be written: one message, and nothing that looks whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.disks import full_after, locked_folder
from helpers.media_files import grey, tone, write_ramp
from helpers.motions import make_motion_model, make_voice
from helpers.refiners import portrait_config

from nerfstudio_talking.dataset_io.dataset_options import DatasetOptions, save_options
from nerfstudio_talking.dataset_io.track import load_track, save_track
from nerfstudio_talking.face.landmark_sets import NUM_MESH_POINTS
from nerfstudio_talking.face.mesh_export import write_mesh
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import require_writable, save_atomically, write_json
from nerfstudio_talking.media.frame_folder import RenderedRecord, fill_folder
from nerfstudio_talking.media.writing import VideoWriter, mux_audio, write_wav
from nerfstudio_talking.motion.generation import generate_motion, save_motion
from nerfstudio_talking.motion.model import save_model
from nerfstudio_talking.provenance.credentials import VideoOrigin, credentials_exist, signed_by
from nerfstudio_talking.provenance.signing import SigningKey, machine_key
from nerfstudio_talking.reports.page import write_page
from nerfstudio_talking.reports.score_report import write_sheet

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def writers(talking_dataset, tmp_path_factory) -> dict[str, Callable[[Path], object]]:
    """What writes something into a folder, by the name of what it writes. Its inputs are made before."""
    folder = tmp_path_factory.mktemp("inputs")
    write_ramp(folder / "silent.mp4", 60)
    track = load_track(talking_dataset)
    model = make_motion_model(120)
    motion = generate_motion(model, make_voice(1.0), 25.0)
    shape = np.random.default_rng(0).normal(size=(NUM_MESH_POINTS + 10, 3))
    trainer = portrait_config(talking_dataset, folder)

    def write_config(target: Path) -> None:
        trainer.output_dir = target
        trainer.save_config()

    def write_video(path: Path, **options: object) -> None:
        with VideoWriter(path, 25, 64, 64, **options) as writer:  # type: ignore[arg-type]
            for shift in range(30):
                writer.write(np.roll(NOISE, shift * 7, 0))

    def write_signed(path: Path) -> None:
        key = SigningKey(folder / "keys" / "certificates.pem", folder / "keys" / "key.pem")
        write_video(path, finish=signed_by(VideoOrigin("test", "0" * 64), path, key))

    writers = {
        "json": lambda target: write_json({"a": list(range(1000))}, target / "a.json"),
        "tensors": lambda target: save_atomically({"a": torch.zeros(10000)}, target / "a.pt"),
        "video": lambda target: write_video(target / "a.mp4", audio=(tone(2, 16000), 16000)),
        "matroska": lambda target: write_video(target / "a.mkv"),
        "audio added": lambda target: mux_audio(folder / "silent.mp4", tone(3, 16000), 16000, target / "a.mp4"),
        "wav": lambda target: write_wav(target / "a.wav", tone(1, 16000), 16000),
        "track": lambda target: save_track(track, target),
        "options": lambda target: save_options(DatasetOptions(fps=25.0, audio="x" * 5000), target),
        "motion model": lambda target: save_model(model, target / "a.pt"),
        "motion track": lambda target: save_motion(motion, target / "a.npz"),
        "mesh": lambda target: write_mesh(shape, target / "a.ply"),
        "page": lambda target: write_page(target / "a.html", "A", ["x" * 5000]),
        "sheet": lambda target: write_sheet(np.tile(NOISE, (4, 4, 1)), target),
        "frames": lambda target: fill_folder(target, RenderedRecord("c", "s", 3, 1.0), lambda _: NOISE),
        "configuration": write_config,
    }
    if credentials_exist():
        machine_key(folder / "keys")
        writers["credentials"] = lambda target: write_signed(target / "a.mp4")
        writers["key"] = lambda target: machine_key(target / "signing")
    return writers


NAMES = (
    "json", "tensors", "video", "matroska", "audio added", "wav", "track", "options", "motion model", "motion track",
    "mesh", "page", "sheet", "frames", "configuration", "credentials", "key",
)  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk(writers, name, share, tmp_path):
    if name not in writers:
        pytest.skip("c2pa-python is not installed")
    (tmp_path / "good").mkdir()
    writers[name](tmp_path / "good")
    sizes = {path.relative_to(tmp_path / "good"): path.stat().st_size for path in files(tmp_path / "good")}
    target = tmp_path / "full"
    target.mkdir()
    with full_after(int(share * max(sizes.values()))), pytest.raises(TalkingError) as raised:
        writers[name](target)
    assert "large" in raised.value.found or raised.value.found == "less room than the file needs"
    # what is there is whole: a file of a writer of several, which were written before the limit was met
    for path in files(target):
        assert path.stat().st_size == sizes.get(path.relative_to(target)) or path.name == "rendered.unfinished.json"
    assert len(list(files(target))) < max(len(sizes), 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_cannot_be_written(writers, name, tmp_path):
    if name not in writers:
        pytest.skip("c2pa-python is not installed")
    with pytest.raises(TalkingError, match="a file"):
        writers[name](locked_folder(tmp_path))
    assert [path.name for path in files(tmp_path)] == ["a file"]


@pytest.mark.skipif(not credentials_exist(), reason="c2pa-python is not installed")
def test_no_room_for_the_credentials(tmp_path):
    """The video fits, its signed copy does not."""
    origin = VideoOrigin("test", "0" * 64)
    key = machine_key(tmp_path / "keys")
    write_ramp(tmp_path / "plain.mp4", 10)
    write_ramp(tmp_path / "signed.mp4", 10, finish=signed_by(origin, tmp_path / "signed.mp4", key))
    plain, signed = ((tmp_path / name).stat().st_size for name in ("plain.mp4", "signed.mp4"))
    with full_after((plain + signed) // 2), pytest.raises(TalkingError, match="a place to write to"):
        write_ramp(tmp_path / "a.mp4", 10, finish=signed_by(origin, tmp_path / "a.mp4", key))
    assert not list(tmp_path.glob("a.mp4*"))


def test_a_place_that_can_be_written_is_left_as_it_is(tmp_path):
    require_writable(tmp_path / "new" / "a.pt")
    assert not list(files(tmp_path)) and (tmp_path / "new").is_dir()
    with pytest.raises(TalkingError, match="a folder of this name"):
        require_writable(tmp_path / "new")


def test_grey_frames_are_written_where_there_is_room(tmp_path):
    """The limit of these tests is that of a file: what fits is written."""
    with full_after(1 << 20), VideoWriter(tmp_path / "a.mp4", 25, 48, 32) as writer:
        writer.write(grey(3))
    assert (tmp_path / "a.mp4").is_file()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
