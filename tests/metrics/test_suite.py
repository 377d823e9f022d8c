from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.faces import add_noise, smooth_image
from helpers.voices import FPS
from torch import nn

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.metrics.functional.images import psnr, quantize, ssim, to_levels
from nerfstudio_talking.metrics.suite import PortraitScores


def test_what_is_left_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    scores = PortraitScores(FPS, faces=False)
    parsing = np.zeros((72, 80), np.uint8)
    parsing[20:60, 20:60] = CLASS_ID["skin"]
    frame = scores.update(add_noise(smooth_image(), 0.1), smooth_image(), parsing)
    assert set(frame) == {"psnr", "ssim", "psnr_face", "ssim_face"}
    video = scores.compute()
    assert video["psnr"] == pytest.approx(frame["psnr"])
    assert {"lpips", "fid", "sync_score", "lips_closed_in_silence"} <= set(scores.left_out)
    assert all(isinstance(value, float) and np.isfinite(value) for value in video.values())
    assert scores.rows == [frame]
    scores.reset()
    assert scores.rows == [] and scores.compute() == {}


def test_lpips_is_counted_where_weights_are(alexnet: tuple[Path, nn.Module]) -> None:
    scores = PortraitScores(FPS, lpips_weights=alexnet[0], faces=False, fid=False)
    frame = scores.update(add_noise(smooth_image(), 0.1), smooth_image())
    assert frame["lpips"] > 0 and scores.compute()["lpips"] == pytest.approx(frame["lpips"])
    assert "lpips" not in scores.left_out and scores.left_out["fid"] == "not asked for"


def test_images_are_scored_as_they_would_be_written() -> None:
    """A rendering in memory and the same one read from a lossless file have one score."""
    rendered, gt = add_noise(smooth_image(), 0.1), quantize(smooth_image())
    written = torch.from_numpy(to_levels(rendered)).float() / 255
    scores = []
    for image in (rendered, written):
        suite = PortraitScores(FPS, faces=False, fid=False)
        suite.update(image, gt)
        scores.append(suite.compute())
    assert scores[0] == scores[1]
    assert scores[0]["psnr"] == psnr(written, gt) != psnr(rendered, gt)
    assert scores[0]["ssim"] == ssim(written, gt)


def test_rendered_parsing_is_scored() -> None:
    scores = PortraitScores(FPS, faces=False, fid=False)
    ids = np.zeros((72, 80), np.uint8)
    ids[20:60, 20:60] = CLASS_ID["skin"]
    scores.update(smooth_image(), smooth_image(), ids, rendered_parsing=ids.astype(np.int64))
    assert scores.compute()["miou"] == 1.0
    assert "miou" not in PortraitScores(FPS, faces=False, fid=False).left_out


def test_a_gap_is_no_step_of_time() -> None:
    scores, frames = PortraitScores(FPS, faces=False, fid=False), [smooth_image(seed=seed) for seed in range(3)]
    parsing = np.zeros((72, 80), np.uint8)
    for number, image in zip((4, 5, 9), frames):
        scores.update(image, image, parsing, frame=number)
    step = np.abs(to_levels(frames[1]).astype(int) - to_levels(frames[0]))[1:-1, 1:-1].mean()
    assert scores.compute()["background_flicker"] == pytest.approx(step, rel=0.02)
    assert scores.tracks[0].shape == (0, 478, 2)
