from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.videos import NUM_TRUE, sample_frames, write_video, write_video_pair

from nerfstudio_talking.face.tracking import FaceFollower, track_faces
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.metrics import score_files
from nerfstudio_talking.metrics.functional.action_units import ACTION_UNITS
from nerfstudio_talking.metrics.functional.syncnet import SyncNet
from nerfstudio_talking.metrics.registry import score_infos
from nerfstudio_talking.metrics.settings import ScoreSettings


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return sample_frames()


@pytest.fixture(scope="module")
def clips(images: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_video_pair(tmp_path_factory.mktemp("clips"), images)


def test_identical_videos_are_perfect(clips: dict[str, Path], tmp_path: Path) -> None:
    csv = tmp_path / "au.csv"
    header = ", ".join(["frame", "success", *(f"{name}_r" for name in ACTION_UNITS)])
    csv.write_text("\n".join([header, *(f"{i + 1}, 1" + ", 0.7" * 17 for i in range(NUM_TRUE))]))
    result = score_files.score_videos(clips["gt"], clips["gt"], ScoreSettings(openface=(csv, csv)))
    scores = result.scores
    assert scores["aue_openface_upper"] == scores["aue_openface_lower"] == 0
    assert scores["psnr"] == scores["psnr_face"] == scores["psnr_mouth"] == 100
    assert scores["ssim"] == pytest.approx(1) and scores["ssim_mouth"] == pytest.approx(1)
    for name in ("lmd", "lmd_relative", "faces_missed", "gt_faces_missed", "lip_lag", "torso_flicker"):
        assert scores[name] == 0
    assert scores["torso_jitter_error"] == pytest.approx(0, abs=1e-6)
    assert scores["aue_geometry_upper"] == scores["aue_geometry_lower"] == scores["face_flicker"] == 0
    assert scores["lip_correlation"] == pytest.approx(1)
    for name in ("sync_score", "torso_jitter", "background_flicker", "blinks_per_minute"):
        assert scores[name] == scores[f"gt_{name}"]
    assert scores["sync_score"] > 0.3
    assert {"aue_blendshapes", "syncnet", "sync_lag", "sync_null_max"} <= set(result.left_out)
    assert result.notes == ["audio of the rendering"]
    assert set(scores) <= set(score_infos()) | {f"gt_{name}" for name in score_infos()}


class LoudnessNet(SyncNet):
    """In SyncNet's place: brightness of the mouth's rows against the energy of the audio."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)  # none of its layers
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
    monkeypatch.setattr(score_files, "load_syncnet", lambda path: LoudnessNet())
    settings = ScoreSettings(gt_frames="0:14", lpips_weights=tmp_path / "alexnet.pth", syncnet=Path("given"))
    result = score_files.score_videos(clips["small"], clips["gt"], settings)
    assert result.scores["lpips"] > 0 and "lpips_mouth" in result.per_frame
    for name in ("confidence", "distance", "lag"):
        assert f"syncnet_{name}" in result.scores and f"gt_syncnet_{name}" in result.scores
    assert not {"lpips", "syncnet"} & set(result.left_out)
    assert {"sync_score", "torso_jitter"} <= set(result.left_out)  # fourteen frames are too few, and that is said


def test_a_part_of_the_gt(images: list[np.ndarray], clips: dict[str, Path], tmp_path: Path) -> None:
    part = write_video(tmp_path / "part.mp4", images[10:20], with_audio=False)
    pair = score_files.pair_videos(part, clips["gt"], "10:40")
    assert (pair.first, pair.num_frames) == (10, 10)
    errors = [np.abs(a.astype(int) - b).mean() for a, b in pair.frames()]
    assert len(errors) == 10 and max(errors) < 2  # the same frames, coded twice
    assert any("frame 10" in note for note in pair.notes) and any(
        "10 frames rendered, 30 true" in n for n in pair.notes
    )
    with pytest.raises(TalkingError, match="in common"):
        score_files.pair_videos(part, clips["gt"], f"{NUM_TRUE - 1}:")


def test_other_frame_rates_are_brought_together(
    images: list[np.ndarray], clips: dict[str, Path], tmp_path: Path
) -> None:
    double = write_video(
        tmp_path / "fast.mp4", [frame for frame in images[:20] for _ in range(2)], fps=50, with_audio=False
    )
    pair = score_files.pair_videos(double, clips["gt"])
    assert pair.fps == 25 and pair.num_frames == 20 and any("50 frames per second" in note for note in pair.notes)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in pair.frames()) < 2


def test_images_of_other_shapes_are_covered_and_cut() -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    assert (score_files.resize_to_cover(wide, 40, 40) > 190).mean() > 0.99
    assert score_files.resize_to_cover(wide, 20, 60) is wide
    assert score_files.resize_to_cover(np.zeros((31, 47, 3), np.uint8), 50, 33).shape == (50, 33, 3)


def test_worst_frames_are_apart_and_in_order() -> None:
    psnr = np.full(100, 30.0)
    psnr[[50, 51, 80]] = 10, 11, 12
    kind, frames = score_files.worst_frames({"psnr": psnr}, 25.0, 2)
    assert (kind, frames) == ("psnr", [50, 80])
    assert score_files.worst_frames({"psnr": psnr, "lpips": np.arange(100.0)}, 25.0, 1) == ("lpips", [99])


def test_following_frame_by_frame_is_tracking_the_video(images: list[np.ndarray]) -> None:
    with FaceFollower() as follower:
        points = np.stack([follower.follow(frame) for frame in images[:6]])
    np.testing.assert_array_equal(points, track_faces(images[:6]).landmarks)
