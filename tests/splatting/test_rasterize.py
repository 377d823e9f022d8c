"""The rasterizers against each other, finite differences and values by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from typing import Any

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nerfstudio_talking.splatting.constants import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE
from nerfstudio_talking.splatting.rasterize import fastest_on, rasterize
from nerfstudio_talking.splatting.rasterize_gsplat import gsplat_has_kernels

SCENE = dict[str, torch.Tensor]


def make_scene(
    count: int, width: int, height: int, channels: int = 3, scale: float = 2.0, seed: int = 0,
    equal_depths: bool = False, opaque: bool = False,
) -> SCENE:  # fmt: skip
    """Random Gaussians about an image, some of them outside of it, in double."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    means = (random(count, 2) * 1.4 - 0.2) * torch.tensor([width, height])
    sigma, angle = scale * (0.5 + random(count, 2)), np.pi * random(count)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2)
    inverse = rotation @ torch.diag_embed(sigma**-2) @ rotation.transpose(1, 2)
    return {
        "means": means,
        "conics": torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], -1),
        "opacities": torch.ones(count, dtype=torch.float64) if opaque else 0.05 + 0.9 * random(count),
        "colors": random(count, channels),
        "depths": torch.ones(count, dtype=torch.float64) if equal_depths else 0.5 + random(count),
        "radii": (3 * sigma.amax(1)).ceil().int() if count else torch.zeros(0, dtype=torch.int32),
    }


def draw(scene: SCENE, width: int, height: int, implementation: str, dtype: torch.dtype, seed: int = 0):
    """Image, alpha, and the gradients of a random linear function of both, by name."""
    leaves = {
        name: value if name == "radii" else value.detach().to(dtype).requires_grad_(name != "depths")
        for name, value in scene.items()
    }
    generator = torch.Generator().manual_seed(seed)
    channels = scene["colors"].shape[1]
    background, weights = torch.rand(2, height, width, channels, generator=generator, dtype=torch.float64)
    share = torch.rand(height, width, 1, generator=generator, dtype=torch.float64)
    background, weights, share = (value.to(scene["means"].device) for value in (background, weights, share))
    options: Any = {"implementation": implementation}
    out = rasterize(**leaves, width=width, height=height, background=background.to(dtype), **options)
    ((out.image * weights.to(dtype)).sum() + (out.alpha * share.to(dtype)).sum()).backward()
    grads = {name: leaf.grad for name, leaf in leaves.items() if leaf.requires_grad}
    return {"image": out.image.detach(), "alpha": out.alpha.detach(), **grads}


def steps_of(scene: SCENE, width: int, height: int) -> tuple[float, float]:
    """How near any pixel comes to one of the rasterizer's steps, where rounding may choose the other side; and the
    greatest 1 / (1 - alpha), by which backward divides what a float32 difference has left of the light behind."""
    order = torch.argsort(scene["depths"], stable=True)
    means, conics, opacities = (scene[name][order] for name in ("means", "conics", "opacities"))
    columns, rows = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    dx, dy = means[:, :1] - columns, means[:, 1:] - rows
    a, b, c = (x[:, None, None] for x in conics.unbind(-1))
    sigma = 0.5 * (a * dx[:, None] ** 2 + c * dy[..., None] ** 2) + b * dx[:, None] * dy[..., None]
    alpha = opacities[:, None, None] * torch.exp(-sigma)
    held = torch.where(alpha >= MIN_ALPHA, alpha.clamp_max(MAX_ALPHA), torch.zeros_like(alpha))
    after = torch.cumprod(1 - held, 0)
    gaps = [(alpha / MIN_ALPHA - 1).abs(), (alpha / MAX_ALPHA - 1).abs(), (after / MIN_TRANSMITTANCE - 1).abs()]
    nearest = min((float(gap.min()) for gap in gaps if gap.numel()), default=1.0)
    return nearest, float((1 / (1 - held)).max()) if held.numel() else 1.0


@settings(max_examples=int(os.environ.get("RASTER_CASES", "60")), deadline=None)
@given(
    count=st.sampled_from([0, 1, 2, 7, 60]),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    channels=st.sampled_from([1, 3, 5]),
    scale=st.sampled_from([0.3, 1.0, 3.0, 40.0]),
    seed=st.integers(0, 10_000),
    equal_depths=st.booleans(),
    opaque=st.booleans(),
)
def test_numba_equals_torch_forward_and_backward(count, width, height, channels, scale, seed, equal_depths, opaque):
    """Against the dense reference in double: none, one, tiny and huge Gaussians, one-pixel images, sizes that no tile
    divides, equal depths, opaque stacks."""
    scene = make_scene(count, width, height, channels, scale, seed, equal_depths, opaque)
    nearest, amplification = steps_of(scene, width, height)
    if nearest < 1e-4:
        return  # a pixel stands on a step of the alphas: either side is right
    mine, theirs = (
        draw(scene, width, height, name, dtype) for name, dtype in (("numba", torch.float32), ("torch", torch.float64))
    )
    # sums over at most all pixels and Gaussians of terms of order one, whose exponentials are good to 1e-6; the light
    # behind a Gaussian is a difference of numbers of order one, good to a few roundings
    for name, expected in theirs.items():
        size = max(float(expected.abs().max()) if expected.numel() else 0.0, 1.0)
        rows = 1e-5 if name in ("image", "alpha", "colors") else 1e-4 + 8 * 2**-24 * amplification
        torch.testing.assert_close(
            mine[name].double(), expected, rtol=0, atol=rows * size, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_torch_gradients_are_finite_differences():
    scene = make_scene(5, 6, 5, 2, 1.5, seed=3)
    assert steps_of(scene, 6, 5)[0] > 1e-4

    def image(means, conics, opacities, colors):
        return rasterize(
            means, conics, opacities, colors, scene["depths"], scene["radii"], 6, 5, implementation="torch"
        ).image

    leaves = [scene[name].requires_grad_() for name in ("means", "conics", "opacities", "colors")]
    assert torch.autograd.gradcheck(image, leaves, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("implementation", ["torch", "numba"])
def test_two_gaussians_by_hand(implementation):
    """Pixel (0.5, 0.5) of a 1x1 image: alphas 0.5 and 0.8 exp(-1/2), the nearer one first, over white."""
    out = rasterize(
        torch.tensor([[0.5, 0.5], [1.5, 0.5]]),
        torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]),
        torch.tensor([0.5, 0.8]),
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        torch.tensor([2.0, 1.0]),
        torch.tensor([3, 3], dtype=torch.int32),
        1,
        1,
        torch.ones(1, 1, 2),
        implementation,
    )
    near = 0.8 * np.exp(-0.5)
    left = (1 - near) * 0.5
    expected = [(1 - near) * 0.5 + left, near + left]
    np.testing.assert_allclose(out.image[0, 0], expected, rtol=2e-6)
    np.testing.assert_allclose(out.alpha[0, 0, 0], 1 - left, rtol=2e-6)


@pytest.mark.parametrize("implementation", ["torch", "numba"])
def test_a_pixel_ends_before_its_transmittance_falls_too_low(implementation):
    """Alphas of 0.95: after four of them 6e-6 would be left, which is below the bound: three are blended."""
    count = 6
    out = rasterize(
        torch.full((count, 2), 0.5),
        torch.tensor([[1.0, 0.0, 1.0]]).repeat(count, 1),
        torch.full((count,), 0.95),
        torch.eye(count),
        torch.arange(1.0, count + 1),
        torch.full((count,), 3, dtype=torch.int32),
        1,
        1,
        implementation=implementation,
    )
    np.testing.assert_allclose(out.image[0, 0], [0.95, 0.0475, 0.002375, 0, 0, 0], atol=1e-6)


def test_absolute_gradients_are_sums_over_pixels():
    """Each pixel's gradient of the means by itself, absolute values summed."""
    scene = make_scene(8, 9, 7, 2, 2.0, seed=5)
    weights = torch.rand(7, 9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    means = scene["means"].clone().requires_grad_()
    image = rasterize(**(scene | {"means": means}), width=9, height=7, implementation="torch").image
    expected = torch.zeros_like(means)
    for row in range(7):
        for column in range(9):
            value = (image[row, column] * weights[row, column]).sum()
            expected += torch.autograd.grad(value, means, retain_graph=True)[0].abs()
    single = {name: value if name == "radii" else value.float() for name, value in scene.items()}
    single["means"].requires_grad_()
    out = rasterize(**single, width=9, height=7, implementation="numba", absgrad_of=single["means"])
    (out.image * weights.float()).sum().backward()
    torch.testing.assert_close(single["means"].absgrad.double(), expected, rtol=1e-3, atol=1e-5)  # type: ignore[attr-defined]


def test_threads_do_not_change_a_bit():
    scene = make_scene(300, 50, 45, 4, 3.0, seed=1)
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS), 1):  # type: ignore[attr-defined]
            numba.set_num_threads(threads)
            results.append(draw(scene, 50, 45, "numba", torch.float32))
    finally:
        numba.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(other[name], value) for name, value in results[0].items())


def test_radius_zero_is_not_drawn_and_other_devices_are_refused():
    scene = make_scene(4, 8, 8)
    scene["radii"] = torch.zeros(4, dtype=torch.int32)
    assert float(draw(scene, 8, 8, "numba", torch.float32)["alpha"].abs().max()) == 0.0
    assert fastest_on(torch.device("cpu")) == "numba"
    meta = {name: value.to("meta") for name, value in scene.items()}
    with pytest.raises(ValueError, match="CPUs"):
        rasterize(**meta, width=8, height=8, implementation="numba")


@pytest.mark.parametrize(
    ("backend", "chosen"), [(object(), "gsplat"), (None, "numba"), (RuntimeError("no nvcc"), "numba")]
)
def test_cuda_without_gsplats_kernels_rasterizes_on_the_cpu(backend, chosen, monkeypatch, capsys):
    """gsplat's kernels are there; gsplat finds no compiler; the compiler fails."""

    class Backend(types.ModuleType):
        @property
        def _C(self) -> object:
            if isinstance(backend, Exception):
                raise backend
            return backend

    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", Backend("gsplat.cuda._backend"))
    gsplat_has_kernels.cache_clear()
    try:
        assert fastest_on(torch.device("cuda")) == chosen
    finally:
        gsplat_has_kernels.cache_clear()
    assert ("rasterized on the CPU" in " ".join(capsys.readouterr().out.split())) == (chosen == "numba")


@pytest.mark.gpu
def test_numba_takes_gaussians_from_cuda():
    """Where gsplat has no kernels: image and gradients are those of the same Gaussians on the CPU."""
    scene = make_scene(60, 40, 33)
    theirs = draw({name: value.cuda() for name, value in scene.items()}, 40, 33, "numba", torch.float32)
    for name, expected in draw(scene, 40, 33, "numba", torch.float32).items():
        assert theirs[name].is_cuda and torch.equal(theirs[name].cpu(), expected), name


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["NUMBA_CPU_NAME=generic", "NUMBA_ENABLE_AVX=0"])
def test_other_processors_agree(variable, tmp_path):
    """The same cases on a plain CPU, compiled anew in a process of its own."""
    name, value = variable.split("=")
    environment = {**os.environ, name: value, "NUMBA_CACHE_DIR": str(tmp_path), "RASTER_CASES": "20"}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__, "-k", "equals_torch_f or by_hand", "-p", "no:cacheprovider"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]


@pytest.mark.gpu
@pytest.mark.parametrize("channels", [1, 3, 5, 19])
@pytest.mark.parametrize("seed", range(5))
def test_gsplat_equals_torch_on_cuda(seed, channels):
    """Images and gradients against the dense reference in double, absolute gradients against numba's."""
    scene = make_scene(60, 40, 33, channels, 2.0, seed)
    nearest, amplification = steps_of(scene, 40, 33)
    if nearest < 1e-4:
        pytest.skip("a pixel stands on a step of the alphas")
    on_cuda = {name: value.cuda() for name, value in scene.items()}
    mine = draw(on_cuda, 40, 33, "gsplat", torch.float32)
    for name, expected in draw(scene, 40, 33, "torch", torch.float64).items():
        size = max(float(expected.abs().max()), 1.0)
        rows = 1e-4 + 8 * 2**-24 * amplification  # gsplat's exponentials are the fast ones
        torch.testing.assert_close(
            mine[name].cpu().double(), expected, rtol=0, atol=rows * size, msg=lambda m, n=name: f"{n}: {m}"
        )
    torch.testing.assert_close(
        absolute_gradients(on_cuda, 40, 33, "gsplat").cpu(),
        absolute_gradients(scene, 40, 33, "numba"),
        rtol=1e-3,
        atol=1e-3,
    )


def absolute_gradients(scene: SCENE, width: int, height: int, implementation: str) -> torch.Tensor:
    """Sums over pixels of the absolute gradients of the image's sum with respect to the means."""
    leaves = {name: value if name == "radii" else value.float() for name, value in scene.items()}
    leaves["means"].requires_grad_(True)
    out = rasterize(**leaves, width=width, height=height, implementation=implementation, absgrad_of=leaves["means"])  # type: ignore[arg-type]
    out.image.sum().backward()
    return leaves["means"].absgrad  # type: ignore[attr-defined]
