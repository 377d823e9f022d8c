"""How fast the numba kernels about the rasterizer are, beside torch's code: covariances, projection, SSIM.

    python scripts/benchmarks/splatting/bench_training_kernels.py [--gaussians 22600] [--size 256] [--threads 1 2]

Kernel and torch take turns in one process, and times are the best of all runs, so that other load on the machine
disturbs both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numba
import torch
import tyro
from rich.table import Table

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.model_components.image_losses import structural_similarity, structural_similarity_torch
from nerfstudio_talking.splatting.projection import (
    covariances_of,
    covariances_torch,
    project_gaussians,
    project_torch,
)

Function = Callable[..., tuple[torch.Tensor, ...]]


@dataclass
class BenchTrainingKernels:
    """Time the kernels of a training step."""

    gaussians: int = 22_600
    """Number of Gaussians."""
    size: int = 256
    """Side of the image, pixels."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads."""
    runs: int = 40
    """Timed runs of each case, after two that are not."""

    def main(self) -> None:
        """Time, and print a table."""
        table = Table("", "threads", "numba: forward, ms", "backward", "torch: forward, ms", "backward", "ratio")
        for threads in self.threads:
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
            torch.set_num_threads(threads)
            for name, (kernel, reference, inputs) in self._cases().items():
                ours, theirs = best_times([kernel, reference], inputs, self.runs)
                times = (f"{1e3 * seconds:.2f}" for seconds in (*ours, *theirs))
                table.add_row(name, f"{threads}", *times, f"{sum(theirs) / sum(ours):.1f}")
        CONSOLE.print(table)

    def _cases(self) -> dict[str, tuple[Function, Function, list[torch.Tensor]]]:
        """Kernel, reference and inputs by name."""
        generator = torch.Generator().manual_seed(0)
        means = 0.05 * torch.randn(self.gaussians, 3, generator=generator)
        quaternions = torch.randn(self.gaussians, 4, generator=generator)
        scales = 0.001 + 0.005 * torch.rand(self.gaussians, 3, generator=generator)
        pose = torch.eye(3, 4)
        pose[2, 3] = 0.8
        camera = PinholeCamera(2.3 * self.size, self.size, self.size)
        rendered, gt = torch.rand(2, self.size, self.size, 3, generator=generator)
        return {
            "covariances": (
                lambda q, s: (covariances_of(q, s),),
                lambda q, s: (covariances_torch(q, s),),
                [quaternions, scales],
            ),
            "projection": (
                lambda m, c, p: project_gaussians(m, c, p, camera)[:3],
                lambda m, c, p: project_torch(m, c, p, camera)[:3],
                [means, covariances_torch(quaternions, scales), pose],
            ),
            "SSIM": (
                lambda image: (structural_similarity(image, gt),),
                lambda image: (structural_similarity_torch(image, gt),),
                [rendered],
            ),
        }


def best_times(functions: list[Function], inputs: list[torch.Tensor], runs: int) -> list[tuple[float, float]]:
    """Best seconds of a forward and of a backward pass of each function; they take turns."""
    best = [(float("inf"), float("inf"))] * len(functions)
    for run in range(runs + 2):
        for k, function in enumerate(functions):
            leaves = [x.detach().requires_grad_() for x in inputs]
            begin = time.perf_counter()
            outputs = function(*leaves)
            forward = time.perf_counter() - begin
            grads = [torch.ones_like(x) for x in outputs]
            begin = time.perf_counter()
            torch.autograd.backward(outputs, grads)
            backward = time.perf_counter() - begin
            if run >= 2:
                best[k] = min(best[k][0], forward), min(best[k][1], backward)
    return best


if __name__ == "__main__":
    tyro.cli(BenchTrainingKernels).main()
