"""What a machine can do at most, how near to it the hash planes come, and what fusing the attention brings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import torch

from nerfstudio_talking.field_components.hash_planes import HashPlanes
from nerfstudio_talking.field_components.region_saliency import ExternalAttentionSaliency


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    measurement: str
    result: str
    compared_with: str = ""
    ratio: str = ""
    target: str = ""


def best_time(call: Callable[[], object], repeats: int, warm: int = 1) -> float:
    """Seconds of the fastest of some calls: others may hold the CPU during the slower ones."""
    for _ in range(warm):
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def alternating(a: Callable[[], object], b: Callable[[], object], repeats: int, warm: int = 1) -> tuple[float, float]:
    """Fastest times of two calls that take turns, so that a busy machine slows both."""
    for _ in range(warm):
        a()
        b()
    times = [(best_time(a, 1, 0), best_time(b, 1, 0)) for _ in range(repeats)]
    return min(t for t, _ in times), min(t for _, t in times)


@numba.njit(parallel=True, fastmath=True)
def _triad(a, b, c):
    for i in numba.prange(len(a)):
        a[i] = b[i] + np.float32(3) * c[i]


@dataclass(frozen=True)
class Peaks:
    """Measured limits of the machine."""

    bytes_per_second: float
    """STREAM triad (McCalpin) over arrays that no cache holds; the read for ownership of the target not counted."""
    flops: float
    """Single-precision product of two large matrices."""


def measure_peaks(quick: bool) -> Peaks:
    """Triad and matrix product, with the threads that torch and numba have."""
    count = (1 << 24) if quick else (1 << 26)
    a, b, c = (np.zeros(count, np.float32) for _ in range(3))
    b += 1
    triad = best_time(lambda: _triad(a, b, c), 10)
    size = 2048
    x, y = torch.randn(size, size), torch.randn(size, size)
    return Peaks(3 * a.nbytes / triad, 2 * size**3 / best_time(lambda: x @ y, 6))


def roofline(work_bytes: float, work_flops: float, seconds: float, peaks: Peaks) -> str:
    """How far a kernel is from each of the machine's limits; the greater share is the one that binds."""
    moved, computed = work_bytes / seconds, work_flops / seconds
    return (
        f"{moved / 1e9:.1f} GB/s gathered, {100 * moved / peaks.bytes_per_second:.0f} % of triad; "
        f"{computed / 1e9:.1f} GFLOP/s, {100 * computed / peaks.flops:.0f} % of gemm"
    )


def planes_work(points: int, levels: int, planes: int = 3) -> tuple[float, float]:
    """Bytes and operations of the hash planes forward and backward, by count.

    Per point, plane and level: four entries are read forward; backward they are read and written. Blending costs 9
    operations forward and as many, and four additions, backward; finding the corners 12 in each. Coordinates and
    results come and go once each way.
    """
    cells = points * levels * planes
    return cells * (4 * 4 * 3 + 4 * 2) + points * planes * 2 * 4 * 2, cells * (9 + 13 + 2 * 12)


def hash_plane_rows(peaks: Peaks, seed: int, points: int = 32_768, levels: int = 12) -> list[Row]:
    """numba over eager torch, forward and backward to the tables."""
    torch.manual_seed(seed)
    reference = HashPlanes(3, levels, 1, implementation="torch")
    ours = HashPlanes(3, levels, 1, implementation="numba")
    ours.load_state_dict(reference.state_dict())
    where = torch.rand(points, 3)
    gradient = torch.randn(points, ours.out_dim)

    def both(planes: HashPlanes) -> Callable[[], None]:
        def call() -> None:
            planes.table.grad = None
            planes(where).backward(gradient)

        return call

    fast, slow = alternating(both(ours), both(reference), 8, warm=2)
    work = planes_work(points, levels)
    return [
        Row(
            f"Hash planes forward and backward, numba, {points} points, {levels} levels, 3 planes",
            f"{fast * 1e3:.1f} ms",
            f"eager torch {slow * 1e3:.0f} ms",
            f"{slow / fast:.0f}x",
            "10x",
        ),
        Row("Roofline of the hash planes", roofline(*work, fast, peaks), "gathers mostly hit the caches"),
    ]


def attention_rows(seed: int, points: int = 32_768) -> list[Row]:
    """The region module of the audio with numba's attention over eager torch's, forward and backward."""
    torch.manual_seed(seed)
    features, condition = torch.randn(points, 36, requires_grad=True), torch.randn(points, 7)
    reference = ExternalAttentionSaliency(36, 7, implementation="torch")
    ours = ExternalAttentionSaliency(36, 7, implementation="numba")
    ours.load_state_dict(reference.state_dict())

    def both(module: ExternalAttentionSaliency) -> Callable[[], None]:
        def call() -> None:
            weighted, saliency = module(features, condition)
            (weighted.sum() + saliency.sum()).backward()

        return call

    fast, slow = alternating(both(ours), both(reference), 8, warm=2)
    what = f"Audio saliency forward and backward, numba attention, {points} points"
    return [Row(what, f"{fast * 1e3:.1f} ms", f"eager torch {slow * 1e3:.0f} ms", f"{slow / fast:.1f}x")]


def hash_plane_gpu_rows(seed: int, points: int = 1 << 20, levels: int = 12) -> list[Row]:
    """triton over eager torch on CUDA, forward and backward to the tables, where there is such a device."""
    what = f"Hash planes forward and backward on CUDA, triton, {points} points, {levels} levels, 3 planes"
    if not torch.cuda.is_available():
        return [Row(what, "not measured", "no CUDA device")]
    torch.manual_seed(seed)
    reference = HashPlanes(3, levels, 1, implementation="torch").cuda()
    ours = HashPlanes(3, levels, 1, implementation="triton").cuda()
    ours.load_state_dict(reference.state_dict())
    where = torch.rand(points, 3, device="cuda")
    gradient = torch.randn(points, ours.out_dim, device="cuda")

    def both(planes: HashPlanes) -> Callable[[], None]:
        def call() -> None:
            planes.table.grad = None
            planes(where).backward(gradient)
            torch.cuda.synchronize()

        return call

    fast, slow = alternating(both(ours), both(reference), 10, warm=3)
    moved = planes_work(points, levels)[0] / fast
    return [
        Row(what, f"{fast * 1e3:.2f} ms", f"eager torch {slow * 1e3:.1f} ms", f"{slow / fast:.0f}x", "5x"),
        Row(
            "Bandwidth of the hash planes on CUDA",
            f"{moved / 1e9:.0f} GB/s gathered and scattered",
            torch.cuda.get_device_name(),
        ),
    ]
