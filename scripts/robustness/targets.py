"""What the fuzzer reads: for each kind of file a good one, and the readers that commands read it with."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))  # the tests' builders of small datasets, voices and models

SAMPLE = ROOT / "tests" / "data" / "sample"


@dataclass(frozen=True)
class Target:
    """A kind of file or folder."""

    name: str
    """As on the command line."""
    make: Callable[[Path], None]
    """Writes good files into a folder."""
    read: Callable[[Path], object]
    """Reads the folder as commands do. It may raise TalkingError, and nothing else."""
    share: float = 1.0
    """Cases of this target relative to the others."""
    files: str = "*"
    """Names of the files that are damaged."""


def _talking(folder: Path) -> None:
    from helpers.builders import write_talking_dataset

    write_talking_dataset(folder, frames=8)
    (folder / "talking_options.json").write_text('{"train_fraction": 0.8}', encoding="utf-8")


def _read_talking(folder: Path) -> None:
    from nerfstudio_talking.dataparsers.talking_portrait import TalkingPortraitDataParserConfig
    from nerfstudio_talking.dataset_io.sequence import load_parsing, load_sequence
    from nerfstudio_talking.dataset_io.validation import sequence_problems

    sequence = load_sequence(folder)
    if not sequence_problems(sequence):
        load_parsing(sequence, 0)
        config = TalkingPortraitDataParserConfig(data=folder)
        config.settle()
        config.setup().get_dataparser_outputs("train")


def _ad_nerf(folder: Path) -> None:
    from helpers.ad_nerf_folders import write_ad_nerf_dataset

    write_ad_nerf_dataset(folder)
    count = 14
    np.save(folder / "bs.npy", np.random.default_rng(0).random((count, 52)).astype(np.float32))


def _read_ad_nerf(folder: Path) -> None:
    from nerfstudio_talking.dataparsers.ad_nerf import AdNerfDataParserConfig
    from nerfstudio_talking.dataset_io.ad_nerf import load_ad_nerf_sequence
    from nerfstudio_talking.dataset_io.ad_nerf_faces import read_eyes
    from nerfstudio_talking.dataset_io.validation import sequence_problems

    sequence = load_ad_nerf_sequence(folder)
    assert sequence.track.frame_ids is not None
    (folder / "au.csv").unlink(missing_ok=True)  # bs.npy is read where there is no au.csv
    read_eyes(folder, sequence.track.frame_ids)
    if not sequence_problems(sequence):
        config = AdNerfDataParserConfig(data=folder)
        config.settle()
        config.setup().get_dataparser_outputs("train")


def _videos(folder: Path) -> None:
    import av
    from helpers.media_files import grey, tone, write_audio, write_ramp, write_timed

    write_ramp(folder / "a.mp4", 20, audio=(tone(0.8, 16000), 16000))
    write_ramp(folder / "b.mkv", 12, audio=(tone(0.5, 16000), 16000))
    write_ramp(folder / "c.mov", 12)
    write_timed(folder / "d.webm", [0, 40, 80, 160, 200])
    for name, codec, pixels in (("e.avi", "mjpeg", "yuvj420p"), ("f.ts", "mpeg2video", "yuv420p")):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 48, 32, pixels  # type: ignore[attr-defined]
            for level in range(10):
                frame = av.VideoFrame.from_ndarray(grey(level * 9), format="rgb24").reformat(format=pixels)
                container.mux(stream.encode(frame))  # type: ignore[arg-type]
            container.mux(stream.encode(None))
    write_audio(folder / "g.wav", tone(0.4, 16000)[None], 16000, "pcm_s16le")
    write_audio(folder / "h.flac", tone(0.4, 16000)[None], 16000, "flac")
    write_audio(folder / "i.mp3", tone(0.4, 44100)[None], 44100, "libmp3lame")
    write_audio(folder / "j.ogg", tone(0.4, 48000)[None], 48000, "libopus")


def _read_media(folder: Path) -> None:
    from nerfstudio_talking.inference.audio_input import written_audio
    from nerfstudio_talking.io.errors import TalkingError
    from nerfstudio_talking.media.reading import probe_video, read_audio, read_audio_blocks, read_frames

    path = folder / (folder / "chosen").read_text()
    refused: list[TalkingError] = []

    def attempt(read: Callable[[], object]) -> None:
        try:
            read()
        except TalkingError as error:
            refused.append(error)

    attempt(lambda: probe_video(path))
    attempt(lambda: list(islice(read_frames(path), 40)))
    attempt(lambda: list(islice(read_audio_blocks(path), 200)))
    attempt(lambda: read_audio(path, duration=60.0))
    attempt(lambda: list(islice(written_audio(path)[0], 200)))
    if refused:
        raise refused[0]


def _configs(folder: Path) -> None:
    import copy

    import yaml
    from nerfstudio.configs.method_configs import all_methods

    for method in ("splat-portrait", "talking-portrait-small", "memory-gan"):
        config = copy.deepcopy(all_methods[method])
        config.timestamp, config.data = "t", folder / "data"
        (folder / f"{method}.yml").write_text(yaml.dump(config), encoding="utf-8")


def _read_configs(folder: Path) -> None:
    import yaml

    from nerfstudio_talking.inference.checkpoints import read_run

    path = folder / (folder / "chosen").read_text()
    config = read_run(path)
    config.get_checkpoint_dir()
    yaml.dump(config)


def _paths(folder: Path) -> None:
    from helpers.builders import write_talking_dataset

    from nerfstudio_talking.cameras.camera_path import camera_path

    track = write_talking_dataset(folder / "data", frames=6)
    path = camera_path(track.camera, track.camera_to_worlds, track.times, track.fps)
    (folder / "path.json").write_text(json.dumps(path), encoding="utf-8")


def _read_paths(folder: Path) -> None:
    from nerfstudio_talking.dataset_io.track import load_track
    from nerfstudio_talking.inference.render_clip import frame_rate, frame_starts, path_times, read_camera_path

    path = read_camera_path(folder / "path.json")
    frame_starts(load_track(folder / "data"), path_times(path), frame_rate(path))
    from nerfstudio.cameras.camera_paths import get_path_from_json

    get_path_from_json(path)


def _features(folder: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(folder / "a.npy", rng.normal(size=(40, 16, 29)).astype(np.float32))
    np.save(folder / "b.npy", rng.normal(size=(80, 1024)).astype(np.float32))


def _read_features(folder: Path) -> None:
    from nerfstudio_talking.audio.ready_arrays import read_feature_array

    read_feature_array(folder / (folder / "chosen").read_text(), 40)


def _motions(folder: Path) -> None:
    from helpers.motions import make_motion_model, make_voice

    from nerfstudio_talking.motion.generation import generate_motion, save_motion
    from nerfstudio_talking.motion.model import save_model

    model = make_motion_model(120)
    save_model(model, folder / "model.pt")
    save_motion(generate_motion(model, make_voice(0.5), 25.0), folder / "track.npz")


def _read_motions(folder: Path) -> None:
    from helpers.motions import make_voice

    from nerfstudio_talking.face.linear_face_model import camera_matrices
    from nerfstudio_talking.motion.generation import motion_for

    path = folder / (folder / "chosen").read_text()
    motion = motion_for(path, make_voice(0.5), 25.0, 12, 0)
    camera_matrices(motion.pose)


def _checkpoints(folder: Path) -> None:
    import torch
    from helpers.builders import write_talking_dataset
    from helpers.refiners import config_path, portrait_config

    write_talking_dataset(folder / "data")
    config = portrait_config(folder / "data", folder / "runs")
    config.save_config()
    pipeline = config.pipeline.setup(device="cpu", test_mode="val")
    models = config_path(config).parent / "nerfstudio_models"
    models.mkdir(parents=True)
    state = {"step": 1, "pipeline": pipeline.state_dict(), "optimizers": {}, "schedulers": {}, "scalers": {}}
    torch.save(state, models / "step-000000001.ckpt")


def _read_checkpoints(folder: Path) -> None:
    from nerfstudio_talking.inference.checkpoints import load_portrait

    load_portrait(next(folder.rglob("config.yml")))


def _bakes(folder: Path) -> None:
    from helpers.builders import write_talking_dataset
    from helpers.portraits import train_in_process

    from nerfstudio_talking.baking.config import BakeConfig
    from nerfstudio_talking.baking.file_format import save_bake
    from nerfstudio_talking.baking.fit import fit_bake

    write_talking_dataset(folder / "data")
    _BAKED.append(train_in_process(folder / "data", 5).model)
    save_bake(fit_bake(_BAKED[0], BakeConfig(cell=0.8, views=8, rays_per_view=512, conditions=48)), folder / "baked.pt")


_BAKED: list[Any] = []
"""The model that was baked; kernels are compiled with it before the cases run."""


def _read_bakes(folder: Path) -> None:
    from nerfstudio_talking.baking.file_format import load_bake
    from nerfstudio_talking.baking.renderer import BakeRenderer
    from nerfstudio_talking.io.digests import weights_digest

    bake = load_bake(folder / "baked.pt", weights_digest(_BAKED[0]))
    BakeRenderer(_BAKED[0], bake).render(3, 48, 48)


def _records(folder: Path) -> None:
    from nerfstudio_talking.media.frame_folder import RenderedRecord, fill_folder

    frame = np.zeros((16, 16, 3), np.uint8)
    fill_folder(folder, RenderedRecord("c" * 64, "s" * 64, 3, 0.9), lambda _: frame)


def _read_records(folder: Path) -> None:
    from nerfstudio_talking.media.frame_folder import read_record, read_rendered

    read_record(folder)
    read_rendered(folder, 3, 16, 16)


TARGETS = {
    target.name: target
    for target in (
        Target("talking-data", _talking, _read_talking, 1.5),
        Target("ad-nerf-data", _ad_nerf, _read_ad_nerf, 1.5),
        Target("media", _videos, _read_media, 2.0),
        Target("config", _configs, _read_configs, 1.5),
        Target("camera-path", _paths, _read_paths, 1.0, "path.json"),
        Target("features", _features, _read_features, 1.0),
        Target("motion", _motions, _read_motions, 1.0),
        Target("checkpoint", _checkpoints, _read_checkpoints, 0.15, "*.ckpt"),
        Target("bake", _bakes, _read_bakes, 0.5, "baked.pt"),
        Target("rendered", _records, _read_records, 0.5),
    )
}


def copy_good(good: Path, work: Path) -> None:
    """A fresh copy of a target's good files."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(good, work)
