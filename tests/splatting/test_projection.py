"""Projection of Gaussians, against gsplat's own torch code and sampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.splatting.projection import covariances_of, project_gaussians
from nerfstudio_talking.splatting.rasterization import rasterization

CAMERA = PinholeCamera(600.0, 256, 200)


def make_gaussians(count: int, spread: float = 0.2, seed: int = 0) -> list[torch.Tensor]:
    """Means, quaternions, scales, and a camera 0.8 m in front of them, in double; with gradients."""
    generator = torch.Generator().manual_seed(seed)
    means = spread * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    quaternions = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    scales = 0.001 + 0.02 * torch.rand(count, 3, generator=generator, dtype=torch.float64)
    rotation = Rotation.from_euler("xyz", [0.1, -0.2, 0.05]).as_matrix()
    pose = torch.from_numpy(np.concatenate([rotation, rotation @ np.array([[0.0], [0.0], [0.8]])], 1))
    return [x.requires_grad_() for x in (means, quaternions, scales, pose)]


@pytest.mark.parametrize("spread", [0.05, 0.5, 2.0])
def test_projection_and_its_gradients_are_those_of_gsplat(spread):
    """Spreads of 0.5 m and more put Gaussians far outside the image and behind the camera."""
    reference = pytest.importorskip("gsplat.cuda._torch_impl")
    leaves = make_gaussians(500, spread)
    means, quaternions, scales, pose = leaves
    mine = project_gaussians(means, covariances_of(quaternions, scales), pose, CAMERA)
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    rotation = flip @ pose[:, :3].T
    view = torch.cat([rotation, -(rotation @ pose[:, 3])[:, None]], 1)
    view = torch.cat([view, torch.tensor([[0, 0, 0, 1.0]], dtype=torch.float64)])
    covariances, _ = reference._quat_scale_to_covar_preci(quaternions, scales)
    intrinsics = torch.from_numpy(CAMERA.matrix)
    radii, centers, depths, conics, _ = reference._fully_fused_projection(
        means, covariances, view[None], intrinsics[None], CAMERA.width, CAMERA.height
    )
    assert torch.equal(mine.radii, radii[0])
    drawn = mine.radii > 0
    assert 0 < int(drawn.sum()) <= 500
    pairs = [(mine.means, centers[0]), (mine.conics, conics[0]), (mine.depths, depths[0])]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours[drawn], theirs[drawn], rtol=1e-10, atol=1e-10)
    weights = [torch.rand_like(ours[drawn]) for ours, _ in pairs]
    for k in range(4):
        both = [
            torch.autograd.grad(
                sum((pair[side][drawn] * weight).sum() for pair, weight in zip(pairs, weights)),  # type: ignore[arg-type]
                leaves[k],
                retain_graph=True,
            )[0]
            for side in (0, 1)
        ]
        torch.testing.assert_close(both[0], both[1], rtol=1e-8, atol=1e-8 * float(both[1].abs().max()))


@pytest.mark.gpu
@pytest.mark.parametrize("spread", [0.05, 0.5, 2.0])
def test_cuda_equals_torch_forward_and_backward(spread):
    """gsplat's kernels on CUDA against the reference in double."""
    results = []
    for device, dtype in (("cpu", torch.float64), ("cuda", torch.float32)):
        leaves = [x.detach().to(device, dtype).requires_grad_() for x in make_gaussians(500, spread)]
        means, quaternions, scales, pose = leaves
        found = project_gaussians(means, covariances_of(quaternions, scales), pose, CAMERA)
        generator = torch.Generator().manual_seed(0)
        outputs = [found.means, found.conics, found.depths]
        drawn = results[0][0] if results else found.radii > 0
        weights = [torch.rand(x.shape, generator=generator, dtype=torch.float64).to(x) for x in outputs]
        total = sum((x[drawn.to(device)] * w[drawn.to(device)]).sum() for x, w in zip(outputs, weights))
        gradients = torch.autograd.grad(total, leaves)  # type: ignore[arg-type]
        results.append((drawn, found.radii.cpu(), [x[drawn.to(device)].detach().cpu().double() for x in outputs],
                        [x.cpu().double() for x in gradients]))  # fmt: skip
    (drawn, radii, outputs, gradients), (_, their_radii, their_outputs, their_gradients) = results
    assert (radii - their_radii).abs().max() <= 1  # rounded up
    assert 0 < int(drawn.sum()) <= 500
    for ours, theirs in zip([*outputs, *gradients], [*their_outputs, *their_gradients]):
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4 * float(ours.abs().max()))


def test_a_small_gaussian_spreads_like_its_samples():
    """The projected covariance of a small Gaussian is that of its projected samples (plus gsplat's 0.3 pixels^2)."""
    means, quaternions, scales, pose = (x.detach() for x in make_gaussians(1, 0.02, seed=4))
    packed = covariances_of(quaternions, 0.1 * scales)[0]
    full = torch.tensor(
        [[packed[0], packed[1], packed[2]], [packed[1], packed[3], packed[4]], [packed[2], packed[4], packed[5]]]
    )
    samples = np.random.default_rng(0).multivariate_normal(means[0].numpy(), full.numpy(), 200_000)
    pixels = CAMERA.project(samples, pose.numpy()[None])[0]
    conic = project_gaussians(means, packed[None], pose, CAMERA).conics[0]
    covariance = torch.linalg.inv(torch.tensor([[conic[0], conic[1]], [conic[1], conic[2]]])).numpy()
    np.testing.assert_allclose(np.cov(pixels.T) + 0.3 * np.eye(2), covariance, rtol=0.02, atol=0.01)


def test_covariance_of_a_turned_gaussian():
    """A quarter turn about z swaps x and y."""
    half = np.sqrt(0.5)
    found = covariances_of(torch.tensor([[2 * half, 0.0, 0.0, 2 * half]]), torch.tensor([[1.0, 2.0, 3.0]]))
    torch.testing.assert_close(found, torch.tensor([[4.0, 0.0, 0.0, 1.0, 0.0, 9.0]]).to(found), atol=1e-6, rtol=0)


def test_rasterization_has_what_the_density_control_reads():
    strategy = pytest.importorskip("gsplat.strategy").DefaultStrategy(absgrad=True, verbose=False)
    means, quaternions, scales, pose = (x.detach().float() for x in make_gaussians(40, 0.05))
    parameters = torch.nn.ParameterDict(
        {"means": means, "quats": quaternions, "scales": scales.log(), "opacities": torch.zeros(40)}
    )
    parameters = torch.nn.ParameterDict({name: torch.nn.Parameter(value) for name, value in parameters.items()})
    optimizers = {name: torch.optim.Adam([value], 1e-3) for name, value in parameters.items()}
    strategy.check_sanity(parameters, optimizers)
    state = strategy.initialize_state(scene_scale=1.0)
    out, info = rasterization(
        parameters["means"], parameters["quats"], parameters["scales"].exp(), parameters["opacities"].sigmoid(),
        torch.rand(40, 3), pose, CAMERA, absgrad=True,
    )  # fmt: skip
    strategy.step_pre_backward(parameters, optimizers, state, 0, info)
    out.image.square().sum().backward()
    strategy.step_post_backward(parameters, optimizers, state, 0, info)
    assert float(state["grad2d"].sum()) > 0
    assert parameters["means"].grad is not None
