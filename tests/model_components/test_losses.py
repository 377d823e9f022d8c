"""Losses against numpy, scipy and values by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.model_components.losses import (
    LpipsNetwork,
    background_weights,
    body_share_loss,
    layer_opacity_loss,
    mean_class_errors,
    opacity_entropy,
    opacity_loss,
    parsing_cross_entropy,
    patch_loss,
    rays_to_patches,
    squared_error,
    weighted_mean,
)


def cross_entropy(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def test_colours_by_hand():
    error = squared_error(torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]]), torch.ones(2, 3))
    torch.testing.assert_close(error, torch.tensor([1.25 / 3, 0.0]))
    torch.testing.assert_close(weighted_mean(error, None), torch.tensor(1.25 / 6))
    torch.testing.assert_close(weighted_mean(error, torch.tensor([2.0, 5.0])), torch.tensor(1.25 / 3))


def test_entropy_is_greatest_at_a_half_and_finite_at_the_ends():
    torch.testing.assert_close(opacity_entropy(torch.tensor([0.5])), torch.tensor(np.log(2.0), dtype=torch.float32))
    opacity = torch.tensor([0.0, 1.0], requires_grad=True)
    entropy = opacity_entropy(opacity)
    assert 0 < float(entropy.detach()) < 2e-3
    entropy.backward()
    assert torch.isfinite(opacity.grad).all()  # type: ignore[arg-type]


def test_opacity_against_numpy():
    rng = np.random.default_rng(0)
    p, y, w = rng.uniform(0.01, 0.99, 40), rng.random(40) < 0.4, rng.uniform(0, 3, 40)
    tensors = torch.from_numpy(p).float(), torch.from_numpy(y), torch.from_numpy(w).float()
    assert float(opacity_loss(*tensors[:2])) == pytest.approx(cross_entropy(p, y).mean(), rel=1e-5)
    assert float(opacity_loss(*tensors)) == pytest.approx((w * cross_entropy(p, y)).mean(), rel=1e-5)


def test_the_torso_counts_beside_the_head_only():
    head, torso = torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.3, 0.8, 0.1])
    is_head, is_torso = torch.tensor([True, False, False]), torch.tensor([False, True, False])
    expected = -np.mean(np.log([0.9, 0.8, 0.9])) - np.mean(np.log([0.8, 0.9]))
    assert float(layer_opacity_loss(head, torso, is_head, is_torso)) == pytest.approx(expected, rel=1e-5)
    torso.requires_grad_()
    covered = layer_opacity_loss(head, torso, torch.ones(3, dtype=torch.bool), is_torso)
    covered.backward()
    assert float(covered.detach()) == pytest.approx(-np.mean(np.log([0.9, 0.2, 0.1])), rel=1e-5)
    assert torso.grad is not None and not torso.grad.any()


def test_body_share_counts_where_head_or_clothes_are_seen():
    body, opacity = torch.tensor([0.1, 0.6, 0.3, 0.1]), torch.tensor([0.5, 0.8, 0.9, 0.2])
    is_head, is_cloth = torch.tensor([True, False, False, True]), torch.tensor([False, True, False, False])
    # the third is hair on neither, the fourth shows too little
    expected = -np.mean([np.log(1 - 0.1 / 0.5), np.log(0.6 / 0.8)])
    assert float(body_share_loss(body, opacity, is_head, is_cloth)) == pytest.approx(expected, rel=1e-5)
    body.requires_grad_()
    none = body_share_loss(body, opacity * 0, is_head, is_cloth)
    none.backward()
    assert float(none.detach()) == 0
    assert body.grad is not None and not body.grad.any()


def test_a_classifier_taught_on_the_rays_learns_the_pixels_frequencies():
    # pixels that look alike: 6 in 100 are lips; among the rays they are half
    ratio = torch.tensor([0.5 / 0.94, 0.5 / 0.06], dtype=torch.float64)
    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    gt = torch.repeat_interleave(torch.arange(2), 50)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = parsing_cross_entropy(logits.expand(len(gt), 2), gt, ratio)
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(torch.softmax(logits, 0).detach(), [0.94, 0.06], atol=1e-5)
    plain = parsing_cross_entropy(logits.expand(len(gt), 2), gt)
    assert float(plain) == pytest.approx(-0.5 * (np.log(0.94) + np.log(0.06)), rel=1e-6)


def test_the_background_counts_as_if_it_were_drawn_uniformly():
    ids = torch.tensor([0] * 40 + [1] * 60 + [2] * 100)
    # 60 % of the pixels and a fifth of 200 rays
    weights = background_weights(ids, torch.tensor([0.2 / 0.6, 0.3 / 0.25, 0.5 / 0.15]), 0)
    np.testing.assert_allclose(weights[ids == 0].sum(), 0.6 * 200, rtol=1e-6)
    assert (weights[ids > 0] == 1).all()


def test_running_class_errors_by_hand():
    running = torch.tensor([1.0, 2.0, 3.0])
    errors, parsing = torch.tensor([0.5, 1.5, 4.0]), torch.tensor([0, 0, 2])
    torch.testing.assert_close(mean_class_errors(running, errors, parsing, 0.9), torch.tensor([1.0, 2.0, 3.1]))
    torch.testing.assert_close(mean_class_errors(running, errors, parsing, 0.5), torch.tensor([1.0, 2.0, 3.5]))


def test_patches_of_rays_are_images():
    image = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    rays = image.permute(0, 2, 3, 1).reshape(-1, 3)
    assert torch.equal(rays_to_patches(rays, 4), image)


def ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Equation 13 of Wang et al. 2004 with sigma 1, by scipy."""
    mean_x, mean_y, xx, yy, xy = (
        gaussian_filter(z, 1.0, mode="mirror", truncate=4) for z in (x, y, x * x, y * y, x * y)
    )
    c1, c2 = 0.01**2, 0.03**2
    covariance, variances = xy - mean_x * mean_y, xx - mean_x**2 + yy - mean_y**2
    local = (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))
    return float(local.mean())


def test_half_precision_leaves_the_patch_loss_as_it_is():
    patches = 0.6 + 0.002 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.float16):
        under_autocast = patch_loss(patches, patches.flip(3), None)
    assert under_autocast == patch_loss(patches, patches.flip(3), None)


def test_patch_loss_is_one_minus_ssim_without_a_network():
    torch.manual_seed(0)
    rendered, gt = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    assert float(patch_loss(gt, gt, None)) == pytest.approx(0, abs=1e-6)
    expected = np.mean([ssim(*pair) for pair in zip(rendered[0].double().numpy(), gt[0].double().numpy())])
    assert float(patch_loss(rendered, gt, None)) == pytest.approx(1 - expected, abs=1e-4)


def test_lpips_is_looked_for_once_and_says_what_was_found(monkeypatch, tmp_path, capsys, alexnet):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    nothing, found = LpipsNetwork(), LpipsNetwork(alexnet[0])
    device = torch.device("cpu")
    assert nothing.on(device) is None and nothing.on(device) is None
    assert capsys.readouterr().out.count("no weights") == 1
    assert found.on(device) is found.on(device) is not None
    with pytest.raises(TalkingError, match="no such file"):
        LpipsNetwork(tmp_path / "alexnet.pth").on(device)


def test_cross_entropies_leave_autocast(monkeypatch):
    """torch refuses binary cross-entropy under CUDA's autocast, with which `ns-train` trains on GPUs."""
    plain, active = F.binary_cross_entropy, []

    def watched(*args, **kwargs):
        active.append(torch.is_autocast_enabled("cpu"))
        return plain(*args, **kwargs)

    monkeypatch.setattr(F, "binary_cross_entropy", watched)
    p, y = torch.tensor([0.5, 0.6]), torch.tensor([True, False])
    with torch.autocast("cpu", torch.bfloat16):
        opacity_loss(p.bfloat16(), y)
        layer_opacity_loss(p, p, y, ~y)
        body_share_loss(p, p, y, ~y)
    assert active == [False] * 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cross_entropies_under_autocast_on_cuda():
    p, y = torch.tensor([0.5, 0.6], device="cuda"), torch.tensor([True, False], device="cuda")
    with torch.autocast("cuda", torch.float16):
        assert torch.isfinite(layer_opacity_loss(p, p, y, ~y) + body_share_loss(p, p, y, ~y))
