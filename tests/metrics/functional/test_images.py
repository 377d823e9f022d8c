from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.faces import add_noise, smooth_image
from torch import nn

from nerfstudio_talking.metrics.functional.images import lpips_distance, psnr, quantize, ssim, to_levels
from nerfstudio_talking.metrics.functional.networks import lpips_network


def test_psnr_by_hand() -> None:
    a = torch.full((4, 5, 3), 0.5)
    assert psnr(a, a + 0.1) == pytest.approx(20.0, abs=1e-4)
    assert psnr(a, a) == 100.0


def test_psnr_is_that_of_skimage() -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    a, b = smooth_image(), add_noise(smooth_image(), 0.1)
    wanted = metrics.peak_signal_noise_ratio(a.double().numpy(), b.double().numpy(), data_range=1.0)
    assert psnr(b, a) == pytest.approx(wanted, abs=1e-4)


def test_ssim_is_that_of_skimage_with_mirrored_borders() -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    a, b = smooth_image(), add_noise(smooth_image(), 0.1)
    pair = [np.pad(x.double().numpy(), ((5, 5), (5, 5), (0, 0)), mode="reflect") for x in (a, b)]
    _, similarity = metrics.structural_similarity(
        *pair, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, full=True
    )
    assert ssim(a, b) == pytest.approx(similarity[5:-5, 5:-5].mean(), abs=1e-5)
    assert ssim(a, a) == pytest.approx(1.0, abs=1e-6)


def test_images_are_rounded_as_in_a_file() -> None:
    values = torch.tensor([-0.2, 0.0, 0.49 / 255, 0.51 / 255, 200.4 / 255, 1.3]).view(2, 1, 3)
    levels = to_levels(values)
    assert levels.dtype == np.uint8 and levels.ravel().tolist() == [0, 0, 0, 1, 200, 255]
    every_level = torch.arange(256).repeat(3).view(256, 1, 3).float() / 255
    assert torch.equal(quantize(every_level), every_level)
    assert torch.equal(quantize(values), torch.from_numpy(levels).float() / 255)


def lpips_by_hand(a: torch.Tensor, b: torch.Tensor, features: nn.Module, linear: dict[str, torch.Tensor]) -> float:
    mean, std = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    total, pair = 0.0, [((2 * x - 1 - mean) / std).permute(2, 0, 1)[None] for x in (a, b)]
    for layer, module in enumerate(features):  # type: ignore[arg-type]
        pair = [module(x) for x in pair]
        if layer in (1, 4, 7, 9, 11):
            unit = [x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in pair]
            weights = linear[f"lin{(1, 4, 7, 9, 11).index(layer)}.model.1.weight"]
            total += float((weights * (unit[0] - unit[1]).square()).sum(1).mean())
    return total


def test_lpips_is_the_published_sum(alexnet: tuple[Path, nn.Module]) -> None:
    import lpips

    network = lpips_network(alexnet[0])
    linear = torch.load(Path(lpips.__file__).parent / "weights/v0.1/alex.pth", "cpu", weights_only=True)
    a = smooth_image()
    with torch.no_grad():
        wanted = lpips_by_hand(a, add_noise(a, 0.1), alexnet[1], linear)
    assert lpips_distance(add_noise(a, 0.1), a, network) == pytest.approx(wanted, rel=1e-3)
    assert lpips_distance(a, a, network) == 0.0
    assert lpips_distance(add_noise(a, 0.3), a, network) > wanted
    small = a[:20, :24]
    assert lpips_distance(add_noise(small, 0.1), small, network) > 0  # enlarged: AlexNet takes nothing so small
