"""How fast Gaussians are rasterized on a CPU, forward and backward, beside dense torch and beside the CPU's limits.

    python scripts/benchmarks/splatting/bench_rasterizer.py [--sizes 256 512] [--threads 1 2]

Times are the best of a few runs in one process; ratios are taken in the same run. A row of the roofline says how many
floating-point operations the visited row vectors need, and what share of a matrix product's rate that is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import torch
import tyro
from rich.table import Table

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.splatting.rasterize import rasterize

_FORWARD, _BACKWARD = 36, 72
"""Floating-point operations of a pixel that a Gaussian reaches, without channels."""


@dataclass
class BenchRasterizer:
    """Time the rasterizer on random Gaussians of two pixels."""

    sizes: tuple[int, ...] = (256, 512)
    """Sides of the images, pixels."""
    gaussians: tuple[int, ...] = (20_000, 40_000)
    """Number of Gaussians for each size."""
    channels: tuple[int, ...] = (3, 16)
    """Numbers of channels."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads."""
    runs: int = 15
    """Timed runs of each case, after two that are not."""
    dense: int = 1500
    """Gaussians of the comparison with dense torch, on a 96x96 image."""

    def main(self) -> None:
        """Time, and print a table."""
        table = Table("image", "Gaussians", "channels", "threads", "forward, ms", "backward, ms", "GFLOP/s", "of gemm")
        for threads in self.threads:
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
            torch.set_num_threads(threads)
            peak = _gemm_rate()
            for size, count in zip(self.sizes, self.gaussians):
                for channels in self.channels:
                    scene = random_gaussians(count, size, channels)
                    forward, backward = time_passes(scene, size, "numba", self.runs)
                    work = _pixels_reached(scene, size)
                    rate = work * (_FORWARD + _BACKWARD + 6 * channels) / (forward + backward)
                    cells = f"{1e3 * forward:.1f}", f"{1e3 * backward:.1f}", f"{rate / 1e9:.1f}"
                    share = f"{100 * rate / peak:.0f} %"
                    table.add_row(f"{size}x{size}", f"{count}", f"{channels}", f"{threads}", *cells, share)
        CONSOLE.print(table)
        scene = random_gaussians(self.dense, 96, 3)
        ours, theirs = (sum(time_passes(scene, 96, name, 5)) for name in ("numba", "torch"))
        text = f"{self.dense} Gaussians at 96x96, both passes: dense torch takes"
        CONSOLE.print(f"{text} {theirs / ours:.0f} times as long.")


def random_gaussians(count: int, size: int, channels: int, sigma: float = 2.0) -> dict[str, torch.Tensor]:
    """Gaussians of about `sigma` pixels all over an image, with opacities from 0.05 to 0.95."""
    generator = torch.Generator().manual_seed(0)
    spread = sigma * (0.5 + torch.rand(count, 2, generator=generator))
    angle = np.pi * torch.rand(count, generator=generator)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2)
    inverse = rotation @ torch.diag_embed(spread**-2) @ rotation.transpose(1, 2)
    return {
        "means": torch.rand(count, 2, generator=generator) * size,
        "conics": torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], -1),
        "opacities": 0.05 + 0.9 * torch.rand(count, generator=generator),
        "colors": torch.rand(count, channels, generator=generator),
        "depths": 0.5 + torch.rand(count, generator=generator),
        "radii": (3 * spread.amax(1)).ceil().int(),
    }


def time_passes(scene: dict[str, torch.Tensor], size: int, implementation: str, runs: int) -> tuple[float, float]:
    """Best seconds of a forward and of a backward pass."""
    leaves = {name: value.clone() for name, value in scene.items()}
    for name in ("means", "conics", "opacities", "colors"):
        leaves[name].requires_grad_()

    def forward() -> torch.Tensor:
        return rasterize(**leaves, width=size, height=size, implementation=implementation).image  # type: ignore[arg-type]

    gradient = torch.randn(size, size, scene["colors"].shape[1], generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        forward().backward(gradient)
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        image = forward()
        middle = time.perf_counter()
        image.backward(gradient)
        times.append((middle - begin, time.perf_counter() - middle))
    return min(first for first, _ in times), min(second for _, second in times)


def _pixels_reached(scene: dict[str, torch.Tensor], size: int) -> float:
    """Pixels of the row vectors that all Gaussians' ellipses of least alpha reach, 16 a row and tile."""
    a, b, c = scene["conics"].unbind(-1)
    twice = 2 * torch.log(255 * scene["opacities"]) / (a * c - b * b)
    across, along = (twice * c).sqrt(), (twice * a).sqrt()
    x, y = scene["means"].unbind(-1)
    tiles = ((x + across).clamp(max=size - 1) / 16).floor() - ((x - across).clamp(min=0) / 16).floor() + 1
    rows = (y + along).clamp(max=size) - (y - along).clamp(min=0)
    return float((16 * tiles * rows).sum())


def _gemm_rate(side: int = 768) -> float:
    """Floating-point operations per second of a float32 matrix product."""
    a = torch.rand(side, side)
    best = min(_seconds(lambda: a @ a) for _ in range(10))
    return 2 * side**3 / best


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    tyro.cli(BenchRasterizer).main()
