from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import paths
from PIL import Image
from scipy.ndimage import gaussian_filter

from nerfstudio_talking.cli.main import entrypoint
from nerfstudio_talking.face.tracking import FaceFollower, track_faces
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import read_audio, read_frames
from nerfstudio_talking.media.writing import VideoWriter
from nerfstudio_talking.metrics import score_files, syncnet
from nerfstudio_talking.metrics.action_units import ACTION_UNITS
from nerfstudio_talking.metrics.registry import SCORE_NAMES, format_table
from nerfstudio_talking.reports import score_report

SAMPLE = paths.SAMPLE / "sample.mp4"
FRAMES, SIDE = 52, 192
"""Just enough for the sync score."""


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    frames = read_frames(SAMPLE, stop=FRAMES + 4)
    return [np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for frame in frames]


def write(path: Path, frames: list[np.ndarray], fps: float = 25.0, with_audio: bool = True) -> Path:
    audio = (read_audio(SAMPLE, duration=len(frames) / fps), 16000) if with_audio else None
    with VideoWriter(path, fps, frames[0].shape[1], frames[0].shape[0], audio=audio, crf=4) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def clips(images: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    blurred = [gaussian_filter(frame, (1.2, 1.2, 0)) for frame in images[:FRAMES]]
    noisy = [np.clip(frame + rng.normal(0, 12, frame.shape), 0, 255).astype(np.uint8) for frame in blurred]
    small = [np.asarray(Image.fromarray(frame).resize((160, 160))) for frame in noisy]
    return {
        "gt": write(folder / "ground_truth.mp4", images),
        "small": write(folder / "small.mp4", small, with_audio=False),
    }


def test_identical_videos_are_perfect(clips: dict[str, Path], tmp_path: Path) -> None:
    csv = tmp_path / "au.csv"
    header = ", ".join(["frame", "success", *(f"{name}_r" for name in ACTION_UNITS)])
    csv.write_text("\n".join([header, *(f"{i + 1}, 1" + ", 0.7" * 17 for i in range(FRAMES + 4))]))
    result = score_files.score_videos(clips["gt"], clips["gt"], score_files.ScoreSettings(openface=(csv, csv)))
    scores = result.scores
    assert scores["aue_openface_upper"] == scores["aue_openface_lower"] == 0
    assert scores["psnr"] == scores["psnr_face"] == scores["psnr_mouth"] == 100
    assert scores["ssim"] == pytest.approx(1) and scores["ssim_mouth"] == pytest.approx(1)
    for name in ("lmd", "lmd_relative", "faces_missed", "gt_faces_missed", "lip_lag", "torso_flicker"):
        assert scores[name] == 0
    assert scores["torso_jitter_error"] == pytest.approx(0, abs=1e-6)
    assert scores["aue_geometry_upper"] == scores["aue_geometry_lower"] == scores["face_flicker"] == 0
    assert scores["lip_correlation"] == pytest.approx(1)
    for name in ("sync_score", "sync_lag", "torso_jitter", "background_flicker", "blinks_per_minute"):
        assert scores[name] == scores[f"gt_{name}"]
    assert scores["sync_score"] > scores["sync_null_max"] and abs(scores["sync_lag"]) < 1
    assert {"aue_blendshapes", "syncnet"} <= set(result.left_out)
    assert result.notes == ["audio of the rendering"]
    assert set(scores) <= set(SCORE_NAMES) | {f"gt_{name}" for name in SCORE_NAMES}


def test_score_on_the_command_line(clips: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "new" / "scores.json", tmp_path / "report"
    entrypoint(["score", str(clips["small"]), str(clips["gt"]), "--json", str(out), "--report", str(report)])
    record = json.loads(out.read_text())
    scores = record["scores"]
    assert 15 < scores["psnr"] < 35 and 0.2 < scores["ssim"] < 0.95
    assert scores["lmd"] > 0.1 and scores["aue_geometry_lower"] > 0 and scores["faces_missed"] == 0
    assert 0.5 < scores["lip_correlation"] < 1
    assert scores["torso_flicker"] > 3 and scores["background_flicker"] > scores["gt_background_flicker"] + 2
    assert scores["torso_jitter"] > scores["gt_torso_jitter"]
    assert scores["torso_jitter_error"] > 0
    assert all(np.isfinite(value) for value in scores.values())
    assert len(record["per_frame"]["psnr"]) == FRAMES == len(record["per_frame"]["lips"])
    assert np.mean(record["per_frame"]["psnr"]) == pytest.approx(scores["psnr"])
    told = " ".join(record["notes"])
    assert f"{FRAMES} frames rendered, {FRAMES + 4} true" in told
    assert "160x160" in told and "192x192" in told and "audio of the ground truth" in told
    printed = " ".join(capsys.readouterr().out.split())
    assert "LMD (pixels)" in printed and "syncnet left out" in printed
    with Image.open(report / score_report.SHEET_NAME) as image:
        assert image.width > 2 * 3 * 200 and image.height > 200
    page = (report / score_report.PAGE_NAME).read_text()
    assert "Lip opening" in page and "<polyline" in page and "worst frames" in page
    assert not list(report.glob("*.part"))


class LoudnessNet(torch.nn.Module):
    """In SyncNet's place: brightness of the mouth's rows against the energy of the audio."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def lips(self, faces: torch.Tensor) -> torch.Tensor:
        return faces[..., 120:180, 60:160].mean((1, 3, 4)) * self.scale

    def audio(self, mfcc: torch.Tensor) -> torch.Tensor:
        return mfcc[:, 0, 0].unflatten(1, (5, 4)).mean(2) * self.scale


def test_networks_are_asked_where_they_are_given(
    clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    weights = {f"features.{i}.weight": 0.05 * torch.randn(shape) for i, shape in shapes.items()}
    torch.save(weights | {f"features.{i}.bias": torch.zeros(s[0]) for i, s in shapes.items()}, tmp_path / "alexnet.pth")
    monkeypatch.setattr(syncnet, "load_syncnet", lambda path: LoudnessNet())
    settings = score_files.ScoreSettings(
        gt_frames="0:14", lpips_weights=tmp_path / "alexnet.pth", syncnet=Path("given")
    )
    result = score_files.score_videos(clips["small"], clips["gt"], settings)
    assert result.scores["lpips"] > 0 and "lpips_mouth" in result.per_frame
    for name in ("confidence", "distance", "lag"):
        assert f"syncnet_{name}" in result.scores and f"gt_syncnet_{name}" in result.scores
    assert not {"lpips", "syncnet"} & set(result.left_out)
    assert {"sync_score", "torso_jitter"} <= set(result.left_out)  # fourteen frames are too few, and that is said


def test_bad_input_is_one_message(clips: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gt = str(clips["gt"])
    for arguments, told in (
        ([str(tmp_path / "absent.mp4"), gt], "no such file"),
        ([gt, gt, "--gt-frames", "900:"], "--gt-frames 900:"),
        ([gt, gt, "--syncnet", str(tmp_path / "absent.model")], "the weights of SyncNet"),
        ([gt, gt, "--lpips-weights", gt], "AlexNet"),
    ):
        with pytest.raises(SystemExit) as exit_:
            entrypoint(["score", *arguments])
        assert exit_.value.code == 1
        assert told in " ".join(capsys.readouterr().out.split())


def test_a_part_of_the_gt(images: list[np.ndarray], clips: dict[str, Path], tmp_path: Path) -> None:
    part = write(tmp_path / "part.mp4", images[10:20], with_audio=False)
    pair = score_files.make_pair(part, clips["gt"], "10:40")
    assert (pair.first, pair.num_frames) == (10, 10)
    errors = [np.abs(a.astype(int) - b).mean() for a, b in pair.frames()]
    assert len(errors) == 10 and max(errors) < 2  # the same frames, coded twice
    assert any("frame 10" in note for note in pair.notes) and any(
        "10 frames rendered, 30 true" in n for n in pair.notes
    )
    with pytest.raises(TalkingError, match="in common"):
        score_files.make_pair(part, clips["gt"], f"{FRAMES + 3}:")


def test_other_frame_rates_are_brought_together(
    images: list[np.ndarray], clips: dict[str, Path], tmp_path: Path
) -> None:
    double = write(tmp_path / "fast.mp4", [frame for frame in images[:20] for _ in range(2)], fps=50, with_audio=False)
    pair = score_files.make_pair(double, clips["gt"])
    assert pair.fps == 25 and pair.num_frames == 20 and any("50 frames per second" in note for note in pair.notes)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in pair.frames()) < 2


def test_images_of_other_shapes_are_covered_and_cut() -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    assert (score_files.fitted(wide, 40, 40) > 190).mean() > 0.99
    assert score_files.fitted(wide, 20, 60) is wide
    assert score_files.fitted(np.zeros((31, 47, 3), np.uint8), 50, 33).shape == (50, 33, 3)


def test_worst_frames_are_apart_and_in_order() -> None:
    psnr = np.full(100, 30.0)
    psnr[[50, 51, 80]] = 10, 11, 12
    kind, frames = score_files.worst_frames({"psnr": psnr}, 25.0, 2)
    assert (kind, frames) == ("psnr", [50, 80])
    assert score_files.worst_frames({"psnr": psnr, "lpips": np.arange(100.0)}, 25.0, 1) == ("lpips", [99])


def test_rows_of_the_table() -> None:
    rows = format_table({"sync_score": 0.5, "gt_sync_score": 0.61, "psnr": 30.123, "novel": 1.5})
    assert [row[1:3] for row in rows] == [("30.12", ""), ("0.500", "0.610"), ("1.5", "")]


def test_following_frame_by_frame_is_tracking_the_video(images: list[np.ndarray]) -> None:
    with FaceFollower() as follower:
        points = np.stack([follower.follow(frame) for frame in images[:6]])
    np.testing.assert_array_equal(points, track_faces(images[:6]).landmarks)
