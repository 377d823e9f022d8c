"""The projection's numba kernels against torch in double, from the same float32 inputs.

The kernels compute in double and round once, so that a result errs by an epsilon of itself, and by what double
precision loses where terms cancel.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from helpers.paths import ROOT
from helpers.rounding import assert_within, rounding_bound
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.splatting.projection import (
    covariances_of,
    covariances_torch,
    project_gaussians,
    project_torch,
)

_OPERATIONS = 1000
"""More roundings in double than any result here passes through."""
SCALES = {"tiny": 1e-6, "small": 3e-3, "huge": 3.0}


def make_case(count: int, place: str, scale: str, seed: int) -> tuple[list[Tensor], PinholeCamera]:
    """Means, quaternions, scales and a pose with float32's values in double, and a camera."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    camera = PinholeCamera(150.0, 61, 47)
    rotation, _ = torch.linalg.qr(torch.eye(3) + 0.2 * normal(3, 3))
    rotation = rotation * torch.sign(torch.diagonal(rotation))
    centre = 0.1 * normal(3)
    depth = 0.3 + torch.rand(count, generator=generator)
    spread = torch.tensor([61.0, 47.0]) / 150 / 2
    across = spread * (2 * torch.rand(count, 2, generator=generator) - 1)
    if place == "behind":
        depth = -depth
    elif place == "near":  # about the near plane
        depth = 0.01 + 1e-3 * normal(count)
    elif place == "limit":  # about 1.3 half fields of view, in every direction
        across = 1.3 * spread * torch.sign(across) * (1 + 0.05 * normal(count, 2))
    elif place == "everywhere":
        across, depth = 5 * across, 2 * normal(count)
    local = torch.cat([across * depth[:, None], -depth[:, None]], 1)
    means = local @ rotation.T + centre
    sizes = SCALES[scale] * torch.exp(normal(count, 3))
    pose = torch.cat([rotation, centre[:, None]], 1)
    return [x.double() for x in (means, normal(count, 4), sizes, pose)], camera


def gradients(outputs: tuple[Tensor, ...], leaves: list[Tensor], seed: int, some: Tensor | None = None) -> list[Tensor]:
    """Gradients of a random linear function of the outputs; of the Gaussians `some` alone."""
    generator = torch.Generator().manual_seed(seed)
    total = outputs[0].new_zeros(())
    for output in outputs:
        weights = torch.randn(output.shape, generator=generator).to(output)
        if some is not None:
            weights[~some] = 0
        total = total + (output * weights).sum()
    return list(torch.autograd.grad(total, leaves))


def leaves_of(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [x.detach().to(dtype).requires_grad_() for x in tensors]


@pytest.mark.kernel
@settings(max_examples=int(os.environ.get("PROJECTION_CASES", "60")), deadline=None)
@given(st.sampled_from([0, 1, 7, 1100]), st.sampled_from(sorted(SCALES)), st.integers(0, 10_000))
def test_covariances_equal_torch_forward_and_backward(count, scale, seed):
    (_, quaternions, scales, _), _ = make_case(count, "inside", scale, seed)
    single, double = (leaves_of([quaternions, scales], dtype) for dtype in (torch.float32, torch.float64))
    found, expected = covariances_of(*single), covariances_torch(*double)
    assert found.grad_fn is not None and found.grad_fn.name() == "NumbaCovariancesBackward"
    largest = scales.square().sum(1)[:, None]
    in_double = rounding_bound(_OPERATIONS, largest, torch.float64)
    assert_within(found, expected, rounding_bound(1, expected.detach().abs()) + in_double)
    of_found, of_expected = (gradients((o,), leaves, seed) for o, leaves in ((found, single), (expected, double)))
    # weights are of order one: at most six entries of four each
    sizes = 24 * largest / quaternions.norm(dim=1)[:, None], 24 * scales.sum(1)[:, None]
    for mine, theirs, size in zip(of_found, of_expected, sizes, strict=True):
        assert_within(mine, theirs, rounding_bound(1, theirs.abs()) + rounding_bound(_OPERATIONS, size, torch.float64))


@pytest.mark.kernel
@settings(max_examples=int(os.environ.get("PROJECTION_CASES", "100")), deadline=None)
@given(
    st.sampled_from([0, 1, 7, 1100]),
    st.sampled_from(["inside", "behind", "near", "limit", "everywhere"]),
    st.sampled_from(sorted(SCALES)),
    st.integers(0, 10_000),
)
def test_projection_equals_torch_forward_and_backward(count, place, scale, seed):
    (means, quaternions, scales, pose), camera = make_case(count, place, scale, seed)
    inputs = [means, covariances_torch(quaternions, scales).float(), pose]
    single, double = (leaves_of(inputs, dtype) for dtype in (torch.float32, torch.float64))
    found, expected = project_gaussians(*single, camera=camera), project_torch(*double, camera=camera)
    assert found.means.grad_fn is not None and found.means.grad_fn.name() == "NumbaProjectionBackward"
    assert not found.radii.requires_grad and found.radii.dtype == torch.int32
    assert torch.equal(found.radii, expected.radii)
    # how much the determinant, rounded covariances included, cancels
    with torch.no_grad():
        a, b, c = expected.conics.unbind(-1)
        lost = 1 + (a * c / (a * c - b * b).clamp_min(1e-300)).abs()
    for name in ("means", "conics", "depths"):
        mine, theirs = getattr(found, name), getattr(expected, name).detach()
        size = theirs.abs() if theirs.ndim == 1 else theirs.abs().sum(1, keepdim=True)
        terms = (lost if theirs.ndim == 1 else lost[:, None]) * (size + 100)
        assert_within(mine, theirs, rounding_bound(1, theirs.abs()) + rounding_bound(_OPERATIONS, terms, torch.float64))
    drawn = expected.radii > 0
    of_found, of_expected = (
        gradients((p.means, p.conics, p.depths), leaves, seed, drawn)
        for p, leaves in ((found, single), (expected, double))
    )
    for mine, theirs in zip(of_found[:2], of_expected[:2], strict=True):
        assert torch.equal((mine == 0).all(1), (theirs == 0).all(1))
        assert (mine[~drawn] == 0).all()
        row = theirs.abs().sum(1, keepdim=True)
        assert_within(mine, theirs, rounding_bound(1, theirs.abs()) + 1e-9 * lost[:, None] * row + 1e-30)
    # the pose's gradient is a sum over Gaussians: what each adds is a rotated or scaled gradient of its mean and axes
    terms = [
        gradients(expected_of(double, camera), double, seed, drawn & (torch.arange(count) == g))[2]
        for g in range(min(count, 7))
    ]
    size = sum((t.abs().sum() for t in terms), torch.zeros(()))
    if count > 7:
        size = count * of_expected[2].abs().max()
    loss = float(lost[drawn].max()) if drawn.any() else 1.0
    bound = rounding_bound(1, of_expected[2].abs()) + rounding_bound(_OPERATIONS * loss, size, torch.float64) + 1e-30
    assert_within(of_found[2], of_expected[2], bound)


def expected_of(leaves: list[Tensor], camera: PinholeCamera) -> tuple[Tensor, Tensor, Tensor]:
    """What torch projects, without radii."""
    out = project_torch(leaves[0], leaves[1], leaves[2], camera)
    return out.means, out.conics, out.depths


def test_gradient_stops_at_the_limit_of_the_linearization():
    """Beyond it a Gaussian's shape does not follow its place across, only its depth."""
    camera = PinholeCamera(150.0, 60, 60)
    pose = torch.eye(3, 4)
    covariances = torch.tensor([[1e-2, 0, 0, 1e-2, 0, 1e-2]]).repeat(2, 1)
    means = torch.tensor([[0.25, 0.0, -1.0], [0.27, 0.0, -1.0]], requires_grad=True)  # the limit is at 0.26
    project_gaussians(means, covariances, pose, camera).conics.sum().backward()
    assert means.grad is not None
    assert means.grad[0, 0] != 0 and means.grad[1, 0] == 0
    assert (means.grad[:, 2] != 0).all()


def test_a_gaussian_that_is_not_finite_is_not_drawn_and_shows():
    means = torch.tensor([[0.0, 0.0, -1.0], [float("nan"), 0.0, -1.0]])
    covariances = torch.tensor([[1e-4, 0, 0, 1e-4, 0, 1e-4]]).repeat(2, 1)
    found = project_gaussians(means, covariances, torch.eye(3, 4), PinholeCamera(150.0, 60, 60))
    assert found.radii[0] > 0 and found.radii[1] == 0
    assert torch.isnan(found.means[1, 0])


_THREADS = """
import numba, torch
from splatting.test_projection_numba import *
(means, quaternions, scales, pose), camera = make_case(5000, "everywhere", "small", 0)
results = []
for threads in (1, 2, 2):
    numba.set_num_threads(threads)
    leaves = leaves_of([means, quaternions, scales, pose], torch.float32)
    out = project_gaussians(leaves[0], covariances_of(leaves[1], leaves[2]), leaves[3], camera)
    results.append([*out, *gradients((out.means, out.conics, out.depths), leaves, 0, out.radii > 0)])
assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other))
"""


def test_one_thread_and_two_give_the_same_bits():
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2", "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", _THREADS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
