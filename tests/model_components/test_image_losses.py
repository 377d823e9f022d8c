"""Losses between whole images: the numba kernel against torch in double, torch against skimage and differences."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from helpers.rounding import assert_within, propagated_bound, rounding_bound
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nerfstudio_talking.metrics.functional.images import lpips_distance
from nerfstudio_talking.metrics.functional.networks import lpips_network
from nerfstudio_talking.model_components.image_losses import (
    lips_loss,
    structural_similarity,
    structural_similarity_torch,
    weighted_absolute_error,
    window_about,
)

_TAPS = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / 4.5)
_TAPS = _TAPS / _TAPS.sum()
_BLUR, _COMPARE = 32, 16
"""Roundings of a blurred value: two passes of eleven taps, whose weights are rounded too, of a sum of two squares; and,
generously, of what is computed from four of them."""


def make_images(height: int, width: int, channels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two images with values in [0, 1] that resemble each other, in double with float32's values."""
    generator = torch.Generator().manual_seed(seed)
    first, noise = torch.rand(2, height, width, channels, generator=generator)
    return first.double(), (0.7 * first + 0.3 * noise).double()


def blur(image: Tensor) -> Tensor:
    """A Gaussian window over the first two axes, zeros outside, tap by tap."""
    for axis in (0, 1):
        padded = torch.nn.functional.pad(image, (0, 0, 5, 5) if axis else (0, 0, 0, 0, 5, 5))
        image = sum(tap * padded.narrow(axis, i, image.shape[axis]) for i, tap in enumerate(_TAPS))  # type: ignore[assignment]
    return image


def similarity_of(blurred: Tensor) -> Tensor:
    """SSIM from the blurred x, y, x^2 + y^2 and x y in the last axis."""
    mean_x, mean_y, squares, product = blurred.unbind(-1)
    means = mean_x**2 + mean_y**2
    top = (2 * mean_x * mean_y + 0.01**2) * (2 * (product - mean_x * mean_y) + 0.03**2)
    return top / ((means + 0.01**2) * (squares - means + 0.03**2))


def expected_with_bounds(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean SSIM and its gradient in double, and the bounds of a float32 kernel's errors."""
    blurred = torch.stack([blur(v) for v in (x, y, x * x + y * y, x * y)], -1).flatten(0, 2).requires_grad_()
    similarity = similarity_of(blurred)
    errors = [(blurred, rounding_bound(_BLUR, blurred.detach()))]
    of_pixels = propagated_bound(similarity[:, None], errors)[:, 0]
    # a row's sum, the mean of the rows, and the pixel's own arithmetic, whose terms are 1 at most
    of_mean = of_pixels.mean() + rounding_bound(_COMPARE + x.shape[1] * x.shape[2] / 16 + 5, of_pixels.new_ones(()))
    (slopes,) = torch.autograd.grad(similarity.sum(), blurred, create_graph=True)
    slopes = slopes[:, [0, 2, 3]]
    # how much larger the terms are than the derivative that is left of them
    with torch.no_grad():
        mean_x, mean_y, squares, _ = blurred.unbind(-1)
        means = mean_x**2 + mean_y**2
        over = 1 / (squares - means + 0.03**2)
        terms = 2 * (mean_x + mean_y) * (1 / (means + 0.01**2) + 2 * over) * (1 + 2 * means / (means + 0.01**2))
        magnitude = torch.stack([terms, slopes[:, 1].abs(), slopes[:, 2].abs()], -1)
        # the variance's denominator carries the error of what cancels in it
    of_slopes = propagated_bound(slopes, errors) + rounding_bound(_COMPARE, magnitude)
    shape = x.shape
    size = [blur(v.reshape(shape)) for v in slopes.detach().abs().unbind(-1)]
    error = [blur(v.reshape(shape)) for v in of_slopes.detach().unbind(-1)]
    of_grad = error[0] + 2 * x * error[1] + y * error[2]
    of_grad = of_grad + rounding_bound(_BLUR + 6, size[0] + 2 * x * size[1] + y * size[2])
    leaf = x.clone().requires_grad_()
    value = structural_similarity_torch(leaf, y)
    (grad,) = torch.autograd.grad(value, leaf)
    return value.detach(), of_mean.detach(), grad, of_grad / x.numel()


def run_kernel(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean SSIM of float32 images and its gradient."""
    leaf = x.float().requires_grad_()
    value = structural_similarity(leaf, y.float())
    assert value.grad_fn is not None and value.grad_fn.name() == "NumbaSimilarityBackward"
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


@pytest.mark.kernel
@settings(max_examples=int(os.environ.get("SSIM_CASES", "40")), deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 3, 5]), st.integers(0, 10_000))
def test_kernel_equals_torch_forward_and_backward(height, width, channels, seed):
    """Sizes smaller than the window, odd ones, and rows of any remainder of 16 floats."""
    x, y = make_images(height, width, channels, seed)
    value, value_bound, grad, grad_bound = expected_with_bounds(x, y)
    found, found_grad = run_kernel(x, y)
    assert_within(found, value, value_bound)
    assert_within(found_grad, grad, grad_bound)


@pytest.mark.kernel
@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
def test_kernel_on_flat_images(constant):
    """Variances that cancel to zero."""
    x, y = (torch.full((20, 24, 3), constant, dtype=torch.float64) for _ in range(2))
    value, value_bound, grad, grad_bound = expected_with_bounds(x, y)
    found, found_grad = run_kernel(x, y)
    assert_within(found, value, value_bound)
    assert_within(found_grad, grad, grad_bound)


def test_gradient_is_scaled_by_what_follows():
    x, y = make_images(12, 9, 3)
    leaf = x.float().requires_grad_()
    (3.0 * (1 - structural_similarity(leaf, y.float()))).backward()
    torch.testing.assert_close(leaf.grad, -3.0 * run_kernel(x, y)[1], rtol=1e-6, atol=0)


def test_images_of_other_layouts_are_read_as_they_are():
    x, y = make_images(14, 11, 3, seed=2)
    turned = x.float().permute(1, 0, 2).contiguous().permute(1, 0, 2)
    value, grad = run_kernel(turned, y.flip(1).contiguous().flip(1))
    expected, expected_grad = run_kernel(x, y)
    assert torch.equal(value, expected) and torch.equal(grad, expected_grad)


def test_a_pixel_that_is_not_a_number_shows():
    x, y = make_images(9, 9, 3)
    x[4, 4, 1] = float("nan")
    assert not torch.isfinite(run_kernel(x, y)[0])


def test_torch_is_the_gaussian_weighted_ssim_of_skimage():
    """Away from the border, where skimage mirrors and this loss sees zeros."""
    from skimage.metrics import structural_similarity as reference

    x, y = make_images(40, 36, 3)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    full = reference(x.numpy(), y.numpy(), channel_axis=-1, full=True, **options)[1]
    mine = similarity_of(torch.stack([blur(v) for v in (x, y, x * x + y * y, x * y)], -1)).numpy()
    np.testing.assert_allclose(mine[5:-5, 5:-5], full[5:-5, 5:-5], atol=1e-9)
    # the function is the mean of that map
    assert float(structural_similarity_torch(x, y)) == pytest.approx(mine.mean(), abs=1e-7)


def test_torch_gradient_is_that_of_finite_differences():
    x, y = make_images(6, 5, 2)
    assert torch.autograd.gradcheck(lambda v: structural_similarity_torch(v, y), x.requires_grad_(), eps=1e-6)


def test_what_the_kernel_does_not_do_is_torchs():
    """Double precision, a gradient for the second image, no gradient at all."""
    x, y = make_images(12, 12, 3)
    assert structural_similarity(x, y) == structural_similarity_torch(x, y)
    assert structural_similarity(x.float(), y.float()) == structural_similarity_torch(x.float(), y.float())
    second = y.float().requires_grad_()
    structural_similarity(x.float().requires_grad_(), second).backward()
    assert second.grad is not None


def test_identical_images_have_similarity_one():
    x, _ = make_images(20, 20, 3)
    value, grad = run_kernel(x, x)
    assert float(value) == pytest.approx(1.0, abs=1e-6)
    assert float(grad.abs().max()) < 1e-5


_THREADS = """
import sys, numba, torch
sys.path.insert(0, sys.argv[1])
from model_components.test_image_losses import make_images, run_kernel
x, y = make_images(70, 53, 3)
results = []
for threads in (1, 2, 2):
    numba.set_num_threads(threads)
    results.append(run_kernel(x, y))
assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other))
"""


def test_one_thread_and_two_give_the_same_bits():
    environment = {
        **os.environ,
        "NUMBA_NUM_THREADS": "2",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", _THREADS, str(ROOT / "tests")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_weighted_absolute_error_by_hand():
    rendered, gt = torch.zeros(1, 2, 3), torch.tensor([[[0.3, 0.0, 0.0], [0.0, 0.6, 0.6]]])
    assert float(weighted_absolute_error(rendered, gt, torch.tensor([[1.0, 2.0]]))) == pytest.approx(0.45)


@pytest.mark.parametrize("value", [0.2, 0.9])
def test_half_precision_leaves_similarity_as_it_is(value):
    """Under autocast a nearly plain image has the same similarity and finite gradients."""
    x = value + 0.002 * torch.rand(24, 30, 3, generator=torch.Generator().manual_seed(0))
    y, leaf = x.flip(0), x.clone().requires_grad_()
    with torch.autocast("cpu", torch.float16):
        similarity = structural_similarity_torch(leaf, y)
    similarity.backward()
    assert leaf.grad is not None
    assert similarity == structural_similarity_torch(x, y)
    assert torch.isfinite(leaf.grad).all()


def test_a_window_about_the_lips_stays_in_the_image():
    region = torch.zeros(40, 60, dtype=torch.bool)
    assert window_about(region, 10) is None
    region[20:23, 30:35] = True
    assert window_about(region, 10) == (slice(16, 26), slice(27, 37))
    assert window_about(region, 50) == (slice(0, 40), slice(7, 57))
    corner = torch.zeros_like(region)
    corner[39, 59] = True
    assert window_about(corner, 10) == (slice(30, 40), slice(50, 60))


def test_lips_loss_is_lpips_of_the_windows(alexnet):
    """Only the windows count; frames without lips do not."""
    network = lpips_network(alexnet[0])
    rendered, gt = torch.rand(2, 2, 160, 160, 3, generator=torch.Generator().manual_seed(0))
    lips = torch.zeros(2, 160, 160, dtype=torch.bool)
    assert float(lips_loss(rendered, gt, lips, network)) == 0
    lips[1, 80:84, 76:88] = True
    leaf = rendered.clone().requires_grad_()
    loss = lips_loss(leaf, gt, lips, network)
    loss.backward()
    assert leaf.grad is not None
    rows, columns = leaf.grad[1].abs().sum(-1).nonzero().unbind(1)
    assert float(leaf.grad[0].abs().max()) == 0
    assert (int(rows.min()), int(rows.max())) == (62, 101) and (int(columns.min()), int(columns.max())) == (62, 101)
    window = [image[1, 62:102, 62:102] for image in (rendered, gt)]
    assert float(loss) == pytest.approx(lpips_distance(window[0], window[1], network), rel=1e-4)
