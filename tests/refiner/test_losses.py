"""Losses against hand-computed values and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nerfstudio_talking.refiner.losses import adversarial_loss, mask_variation_loss, ssim_loss


def test_adversarial_loss_by_hand():
    assert float(adversarial_loss(torch.zeros(1, 1, 2, 2), True)) == pytest.approx(np.log(2))
    assert float(adversarial_loss(torch.tensor([2.0]), False)) == pytest.approx(np.log1p(np.exp(2)))


def test_mask_variation_by_hand():
    mask = torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]])
    assert float(mask_variation_loss(mask)) == 1 + 9 + 0 + 4
    assert float(mask_variation_loss(mask.repeat(5, 1, 1, 1))) == 14  # the mean over the batch


def test_ssim_loss_agrees_with_scikit_image():
    from skimage.metrics import structural_similarity

    gt, noise = np.random.default_rng(0).uniform(-1, 1, (2, 3, 40, 36)).astype(np.float32)
    image = 0.7 * gt + 0.3 * noise
    # reflected by more than half the Gaussian window, so that both see the same pixels beyond the border
    padded = [np.pad(x, ((0, 0), (8, 8), (8, 8)), mode="reflect") for x in (image, gt)]
    _, similarity = structural_similarity(
        *padded, channel_axis=0, data_range=2.0, full=True,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    expected = 1 - float(similarity[:, 8:-8, 8:-8].mean())
    assert float(ssim_loss(*(torch.from_numpy(x)[None] for x in (image, gt)))) == pytest.approx(expected, abs=1e-4)
    assert float(ssim_loss(torch.from_numpy(gt)[None], torch.from_numpy(gt)[None])) == pytest.approx(0, abs=1e-6)
