from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.faces import add_noise, smooth_image
from scipy.linalg import sqrtm
from torch import nn
from torch.nn import functional as F

from nerfstudio_talking.metrics import images
from nerfstudio_talking.metrics.base import MetricOptions, Unavailable
from nerfstudio_talking.metrics.images import (
    DetailRatio,
    FrechetDistance,
    PeakSignalNoiseRatio,
    PerceptualDistance,
    SharpnessError,
    StructuralSimilarity,
)
from nerfstudio_talking.metrics.regions import FrameRegions

MOUTH = FrameRegions(mouth=(10.0, 10.0, 40.0, 40.0))
NOISES = ((0.05, FrameRegions()), (0.1, MOUTH), (0.2, FrameRegions()))


def test_boxes_see_their_own_errors_only() -> None:
    gt = smooth_image()
    rendered = gt.clone()
    rendered[40:60, 30:50] = add_noise(gt[40:60, 30:50], 0.3)
    regions = FrameRegions(face=(0, 0, 80, 38), mouth=(30, 40, 50, 60))
    psnr, ssim = PeakSignalNoiseRatio()(rendered, gt, regions), StructuralSimilarity()(rendered, gt, regions)
    assert psnr["psnr_face"] == 100.0 and ssim["ssim_face"] == pytest.approx(1.0, abs=1e-6)
    assert psnr["psnr_mouth"] < psnr["psnr"] < 100 and ssim["ssim_mouth"] < ssim["ssim"] < 1
    inside = -10 * np.log10(float((rendered - gt)[40:60, 30:50].double().square().mean()))
    assert psnr["psnr_mouth"] == pytest.approx(inside, abs=1e-4)
    with pytest.raises(ValueError, match="one size"):
        PeakSignalNoiseRatio().update(rendered[:10], gt)


def test_noise_moves_every_image_score_its_way(alexnet: tuple[Path, nn.Module]) -> None:
    clean = smooth_image()
    lpips = PerceptualDistance(images.lpips_network(alexnet[0]))
    for metric in (PeakSignalNoiseRatio(), StructuralSimilarity(), lpips):
        scores = [metric(add_noise(clean, sigma), clean, MOUTH) for sigma in (0.02, 0.1, 0.3)]
        assert set(scores[0]) == {metric.name, f"{metric.name}_mouth"}
        sign = 1 if metric.higher_is_better else -1
        for name in scores[0]:
            assert sign * scores[0][name] > sign * scores[1][name] > sign * scores[2][name]


def test_a_frame_is_returned_and_the_mean_computed() -> None:
    metric, clean = StructuralSimilarity(), smooth_image()
    per_frame = [metric(add_noise(clean, sigma), clean, regions) for sigma, regions in NOISES]
    total = metric.compute()
    assert total["ssim"] == pytest.approx(np.mean([row["ssim"] for row in per_frame]))
    assert total["ssim_mouth"] == pytest.approx(per_frame[1]["ssim_mouth"])  # the only frame with a mouth
    assert "ssim_face" not in total
    assert metric.frame_scores == per_frame[-1]
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert metric.compute() == {}


def test_two_processes_have_the_mean_of_all_frames() -> None:
    """States are joined as torchmetrics joins them: by their reduction."""
    clean = smooth_image()
    halves, whole = (PeakSignalNoiseRatio(), PeakSignalNoiseRatio()), PeakSignalNoiseRatio()
    for i, (sigma, regions) in enumerate(NOISES):
        for metric in (halves[i % 2], whole):
            metric.update(add_noise(clean, sigma), clean, regions)
    halves[0]._reduce_states(halves[1].metric_state)
    assert halves[0].compute() == pytest.approx(whole.compute())


def test_blur_costs_detail() -> None:
    gt = add_noise(smooth_image(), 0.1)
    blurred = F.avg_pool2d(gt.permute(2, 0, 1)[None], 3, 1, 1)[0].permute(1, 2, 0)
    ratio, error = DetailRatio()(blurred, gt, MOUTH), SharpnessError()(blurred, gt, MOUTH)
    assert set(ratio) == {"detail_mouth"} and 0 < ratio["detail_mouth"] < 0.3
    assert error == {"sharpness_mouth": pytest.approx(-np.log2(ratio["detail_mouth"]))}


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root))


class MeanColours(nn.Module):
    """A stand-in for Inception: the mean colours of the upper and the lower half."""

    num_features = 6

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool2d(images.float() / 255, (2, 1)).flatten(1)


def test_fid_is_the_frechet_distance() -> None:
    frames = [(smooth_image(seed=i) * 255).round() / 255 for i in range(12)]
    metric = FrechetDistance(MeanColours())
    for sigma in (0.0, 0.3):
        metric.reset()
        rendered = [(add_noise(frame, sigma, i) * 255).round() / 255 for i, frame in enumerate(frames)]
        for i, (a, b) in enumerate(zip(rendered, frames)):
            metric.update(a, b, MOUTH if i else FrameRegions())
        for name, rows, columns, first in (
            ("fid", slice(None), slice(None), 0),
            ("fid_mouth", *(slice(10, 40),) * 2, 1),
        ):
            sets = [
                MeanColours()(torch.stack([x[rows, columns] for x in side[first:]]).permute(0, 3, 1, 2) * 255).double()
                for side in (rendered, frames)
            ]
            assert metric.compute()[name] == pytest.approx(frechet(sets[0].numpy(), sets[1].numpy()), abs=1e-6)
        assert "fid_face" not in metric.compute()


def test_what_needs_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(Unavailable, match="alexnet"):
        PerceptualDistance.make(MetricOptions(25.0))
    with pytest.raises(Unavailable, match="inception"):
        FrechetDistance.make(MetricOptions(25.0))
    with pytest.raises(Unavailable, match="not asked for"):
        FrechetDistance.make(MetricOptions(25.0, fid=False))
