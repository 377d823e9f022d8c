"""Every registered method trains a few steps, and the standard commands read what it wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.builders import write_talking_dataset
from helpers.commands import SMALL, command, train

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.images import read_image


@pytest.fixture(scope="module")
def portrait(talking_dataset, tmp_path_factory) -> Path:
    return train("talking-portrait-small", talking_dataset, tmp_path_factory.mktemp("run"), 10)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["talking-portrait", "ssp-nerf"])
def test_full_presets_train(talking_dataset, tmp_path, method):
    assert train(method, talking_dataset, tmp_path, 3).is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--pipeline.model.region-module", "mlp", "--pipeline.model.audio-condition", "code"),
        ("--pipeline.model.region-module", "concat", "--pipeline.model.torso", "deformable_grid"),
    ],
)
def test_ablations_train(talking_dataset, tmp_path, options):
    assert train("talking-portrait-small", talking_dataset, tmp_path, 3, *options).is_file()


@pytest.mark.slow
def test_checkpoint_is_weights_only(portrait):
    checkpoints = sorted((portrait.parent / "nerfstudio_models").iterdir())
    assert [path.suffix for path in checkpoints] == [".ckpt"]
    state = torch.load(checkpoints[-1], weights_only=True)
    assert not [key for key in state["pipeline"] if "conditioning" in key or "tracked" in key]


@pytest.mark.slow
def test_eval_writes_flat_floats(portrait, tmp_path):
    command("ns-eval", "--load-config", portrait, "--output-path", tmp_path / "eval.json", cwd=portrait.parents[4])
    results = json.loads((tmp_path / "eval.json").read_text())["results"]
    assert {"psnr", "ssim", "video_psnr_mouth", "video_miou", "video_ssim_mouth"} <= results.keys()
    assert [name for name in results if name.endswith("/psnr")] == ["frames/000020/psnr", "frames/000021/psnr"]
    for name in ("psnr", "ssim"):  # nerfstudio's average is that of the frames, and stands once
        frames = [results[f"frames/{frame:06d}/{name}"] for frame in (20, 21)]
        assert results[name] == pytest.approx(sum(frames) / 2, rel=1e-6)
        assert f"video_{name}" not in results
    assert all(isinstance(value, float) for value in results.values())


@pytest.mark.slow
def test_standard_commands_render_from_a_bake(portrait, tmp_path):
    """`config_baked.yml` as ns-eval and ns-render load it: what a bake does not give, parsing, is not there."""
    folder = portrait.parents[4]
    result = command(
        "ns-talking", "bake", "--load-config", portrait.relative_to(folder), "--max-loss", 10, "--cell", 8,
        "--views", 8, "--conditions", 32, "--rays-per-view", 512, cwd=folder,
    )  # fmt: skip
    config = portrait.with_name("config_baked.yml")
    assert result.stdout.splitlines()[-1].endswith(f"--load-config {config.relative_to(folder)}")
    scores = {}
    for name, path in (("full", portrait), ("baked", config)):
        output = tmp_path / f"{name}.json"
        command("ns-eval", "--load-config", path, "--output-path", output, cwd=folder)
        scores[name] = json.loads(output.read_text())
    assert scores["baked"]["checkpoint"] == scores["full"]["checkpoint"]
    full, baked = scores["full"]["results"], scores["baked"]["results"]
    assert "video_miou" in full and "video_miou" not in baked
    assert full["psnr"] != baked["psnr"] == pytest.approx(full["psnr"], abs=10)
    command(
        "ns-render", "dataset", "--load-config", config, "--output-path", tmp_path / "out",
        "--rendered-output-names", "rgb", "--split", "test", cwd=folder,
    )  # fmt: skip
    assert len(list((tmp_path / "out" / "test" / "rgb").iterdir())) == 2


@pytest.mark.slow
def test_render_camera_path_plays_every_frame_with_audio(portrait, talking_dataset, tmp_path):
    from nerfstudio_talking.media.reading import probe_video

    path = tmp_path / "path.json"
    command("ns-talking", "path", "--data", talking_dataset, "--output", path, "--frames", "2:12", cwd=tmp_path)
    output = tmp_path / "camera path.mp4"
    options = ("--load-config", portrait, "--camera-path-filename", path)
    command("ns-talking", "render", *options, "--output-path", output, cwd=portrait.parents[4], forked=False)
    info = probe_video(output)
    assert (info.width, info.height, info.has_audio) == (48, 48, True)
    assert info.fps == pytest.approx(25)
    assert info.duration == pytest.approx(10 / 25, abs=0.02)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["camera path.mp4", "path.json"]


@pytest.mark.slow
def test_render_dataset(portrait, tmp_path):
    command(
        "ns-render", "dataset", "--load-config", portrait, "--output-path", tmp_path / "out",
        "--rendered-output-names", "rgb", "depth", "parsing", "saliency_audio", "gt-rgb", "gt-parsing",
        "--split", "test", "--downscale-factor", 2, cwd=portrait.parents[4], forked=False,
    )  # fmt: skip
    for name in ("rgb", "depth", "parsing", "saliency_audio", "gt-rgb", "gt-parsing"):
        images = [read_image(path) for path in (tmp_path / "out" / "test" / name).iterdir()]
        assert [image.shape[:2] for image in images] == [(24, 24)] * 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["interpolate", "spiral"])
def test_render_views_without_times_shows_the_neutral_frame(portrait, tmp_path, kind):
    from nerfstudio_talking.media.reading import read_frames

    options = ("--interpolation-steps", 3) if kind == "interpolate" else ("--seconds", 1, "--frame-rate", 4)
    output = tmp_path / "views.mp4"
    result = command(
        "ns-render", kind, "--load-config", portrait, "--output-path", output, *options, cwd=portrait.parents[4]
    )
    assert result.stdout.count("Cameras without times") <= 1
    assert all(frame.std() > 5 for frame in read_frames(output))


@pytest.mark.slow
def test_drive_another_voice(portrait, tmp_path):
    import soundfile

    from nerfstudio_talking.media.reading import probe_video, read_audio

    voice = tmp_path / "eine Stimme, 日本.wav"
    soundfile.write(voice, 0.1 * np.random.default_rng(0).standard_normal((24000, 2)), 22050)
    output = tmp_path / "spoken.mp4"
    options = ("--load-config", portrait, "--output", output)
    command("ns-talking", "drive", *options, "--audio", voice, cwd=portrait.parents[4])
    info = probe_video(output)
    assert info.duration == pytest.approx(24000 / 22050, abs=0.04)
    assert len(read_audio(output)) / 16000 == pytest.approx(info.duration, abs=0.04)
    kept = tmp_path / "kept.mp4"
    command(
        "ns-talking", "drive", "--load-config", portrait, "--output", kept, "--audio", voice, "--normalization", "clip",
        "--scale", "0.5", cwd=portrait.parents[4],
    )  # fmt: skip
    assert (probe_video(kept).width, probe_video(kept).num_frames) == (24, info.num_frames)
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), 16000)
    output.unlink()
    result = command("ns-talking", "drive", *options, "--audio", empty, cwd=portrait.parents[4], check=False)
    assert result.returncode == 1
    assert "empty.wav" in result.stdout
    assert not output.exists()


@pytest.mark.slow
def test_checkpoint_carries_the_normalisation_of_the_clips_audio(talking_dataset, tmp_path, monkeypatch):
    from nerfstudio_talking.audio.extract import extract_features
    from nerfstudio_talking.dataset_io.track import load_track, save_track
    from nerfstudio_talking.inference.driver import PortraitDriver
    from nerfstudio_talking.media.reading import read_audio

    data = shutil.copytree(talking_dataset, tmp_path / "data")
    track = load_track(data)
    assert track.audio_path is not None
    features = extract_features(read_audio(track.audio_path), track.fps, track.num_frames)
    save_track(track.replace(audio=features.windows, audio_normalization=features.normalization), data)
    config = train("talking-portrait-small", data, tmp_path, 2)
    checkpoint = sorted((config.parent / "nerfstudio_models").iterdir())[-1]
    state = torch.load(checkpoint, weights_only=True)["pipeline"]
    assert features.normalization is not None
    np.testing.assert_allclose(state["_model.audio_normalization.mean"], features.normalization.mean, rtol=1e-6)
    monkeypatch.chdir(config.parents[4])  # paths in config.yml count from where ns-train ran
    driver = PortraitDriver.load(config, device="cpu", bake="none")
    assert (driver.fps, driver.frame_size()) == (25.0, (48, 48))
    frames = list(driver.drive(0.1 * np.random.default_rng(0).standard_normal(3200).astype(np.float32)))
    assert len(frames) == 5 and frames[0].shape == (48, 48, 3)
    with pytest.raises(TalkingError, match="device nothing"):
        PortraitDriver.load(config, device="nothing")


@pytest.mark.slow
def test_checkpoint_of_another_clip_is_refused(portrait, tmp_path):
    write_talking_dataset(tmp_path / "other", seed=1)
    result = command(
        "ns-train", "talking-portrait-small", "--data", tmp_path / "other", "--output-dir", tmp_path / "out",
        "--max-num-iterations", 2, "--machine.device-type", "cpu", "--vis", "tensorboard", *SMALL,
        "--load-dir", portrait.parent / "nerfstudio_models", cwd=tmp_path, check=False,
    )  # fmt: skip
    assert result.returncode != 0
    assert "trained on clip" in result.stdout + result.stderr


@pytest.mark.slow
def test_resume(portrait, talking_dataset, tmp_path):
    config = train(
        "talking-portrait-small", talking_dataset, tmp_path, 12, "--load-dir", portrait.parent / "nerfstudio_models"
    )
    last = sorted((config.parent / "nerfstudio_models").iterdir())[-1]
    assert torch.load(last, weights_only=True)["step"] == 11


@pytest.fixture(scope="module")
def ssp_portrait(talking_dataset, tmp_path_factory) -> Path:
    return train("ssp-nerf-small", talking_dataset, tmp_path_factory.mktemp("ssp"), 10)


@pytest.mark.slow
def test_ssp_nerf_is_evaluated_and_rendered(ssp_portrait, tmp_path):
    folder = ssp_portrait.parents[4]
    command("ns-eval", "--load-config", ssp_portrait, "--output-path", tmp_path / "eval.json", cwd=folder)
    results = json.loads((tmp_path / "eval.json").read_text())["results"]
    assert {"psnr", "video_miou", "video_iou_cloth"} <= results.keys()
    command(
        "ns-render", "dataset", "--load-config", ssp_portrait, "--output-path", tmp_path / "out",
        "--rendered-output-names", "rgb", "parsing", "body", "--split", "test", cwd=folder,
    )  # fmt: skip
    assert len(list((tmp_path / "out" / "test" / "body").iterdir())) == 2


@pytest.mark.slow
def test_ssp_nerf_keeps_its_sampling_losses(ssp_portrait):
    checkpoint = sorted((ssp_portrait.parent / "nerfstudio_models").iterdir())[-1]
    loss = torch.load(checkpoint, weights_only=True)["pipeline"]["_model.class_loss"]
    assert loss.shape == (11,)
    assert len(loss.unique()) > 3


@pytest.mark.slow
def test_ssp_nerf_ablations_train(talking_dataset, tmp_path):
    options = ("--pipeline.model.parsing-branch", "False", "--pipeline.model.deformation", "False")
    assert train("ssp-nerf-small", talking_dataset, tmp_path, 3, *options).is_file()


@pytest.mark.slow
def test_lips_phase_uses_lpips_where_its_weights_are(talking_dataset, tmp_path):
    from torchvision.models import alexnet

    torch.save(alexnet(weights=None).state_dict(), tmp_path / "alexnet.pth")
    options = ("--pipeline.model.lpips-weights", tmp_path / "alexnet.pth")
    config = train("talking-portrait-small", talking_dataset, tmp_path, 8, *options)
    checkpoint = torch.load(sorted((config.parent / "nerfstudio_models").iterdir())[-1], weights_only=True)
    assert not [key for key in checkpoint["pipeline"] if "lpips" in key]
