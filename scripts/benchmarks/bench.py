"""Speed and memory on this machine, as one table.

    python scripts/benchmarks/bench.py [--quick] [--load-config outputs/.../config.yml] [--output docs/benchmarks.md]

Every ratio is of two things measured in turns in one run. Times are the best of some repeats. What needs a GPU is
measured where there is one.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import torch
import tyro
from ablation_tables import update_page
from bench_kernels import Peaks, Row, attention_rows, hash_plane_gpu_rows, hash_plane_rows, measure_peaks
from bench_portrait import (
    make_pipeline,
    memory_row,
    rendering_rows,
    repeat_sample,
    scale_rows,
    stepper,
    training_rows,
    warm_up,
)
from bench_process import process_rows
from machine import machine, versions
from rich.markdown import Markdown

from nerfstudio_talking.io.console import CONSOLE

_PACKAGES = ("nerfstudio-talking", "nerfstudio", "torch", "numba", "numpy")


@dataclass
class Bench:
    """Measure and write the table."""

    output: Path = Path(__file__).resolve().parents[2] / "docs/benchmarks.md"
    """The page; only this script's section of it is replaced."""
    quick: bool = False
    """Fewer repeats and sizes: under ten minutes on two cores."""
    load_config: Path | None = None
    """A trained portrait to render; the sample clip's where not given, trained for a moment."""
    threads: int = 2
    """Number of threads of torch and numba."""
    seed: int = 0
    """Seed of everything random."""
    without: tuple[str, ...] = ()
    """Parts to leave out: planes, training, rendering, memory, scale."""
    scratch: Path | None = None
    """Folder for the clips, which stay there; a temporary one where not given."""

    def main(self) -> None:
        """Run the parts."""
        torch.set_num_threads(self.threads)
        numba.set_num_threads(min(self.threads, numba.get_num_threads()))
        torch.manual_seed(self.seed)
        np.random.seed(self.seed)
        start = time.perf_counter()
        peaks = measure_peaks(self.quick)
        with tempfile.TemporaryDirectory() as temporary:
            folder = self.scratch or Path(temporary)
            rows = self._rows(peaks, folder)
        text = write_section(rows, peaks, self.conditions(time.perf_counter() - start))
        update_page(self.output, "bench", text)
        CONSOLE.print(Markdown(text))
        CONSOLE.print(f"[green]Wrote {self.output}.")

    def _rows(self, peaks: Peaks, folder: Path) -> list[Row]:
        rows: list[Row] = []
        if "planes" not in self.without:
            rows += hash_plane_rows(peaks, self.seed) + attention_rows(self.seed) + hash_plane_gpu_rows(self.seed)
        if {"training", "rendering"} - set(self.without):
            pipeline = make_pipeline(repeat_sample(folder / "clip256", 100, 256))
            step = stepper(pipeline)
            warm_up(pipeline, step, 90 if self.quick else 600)
            if "training" not in self.without:
                rows += training_rows(pipeline, step, self.seed, 4 if self.quick else 12)
            if self.load_config is not None and "rendering" not in self.without:
                from nerfstudio_talking.inference.checkpoints import load_portrait

                pipeline = load_portrait(self.load_config)[0]
            if "rendering" not in self.without:
                rows += rendering_rows(pipeline, self.quick)
        if "memory" not in self.without:
            rows.append(memory_row(folder))
        if "scale" not in self.without:
            seconds, sides = ([10, 40], [128, 256, 512]) if self.quick else ([10, 60, 600], [128, 256, 512, 1024])
            rows += scale_rows(folder, grown(seconds, sides), 3 if self.quick else 8)
            rows += process_rows(folder, grown([10, 20], [128]) if self.quick else grown(seconds, sides))
        for what in ("Rendering 450x450 with torso on CUDA", "Training on CUDA to er-nerf's PSNR"):
            rows.append(Row(what, "not measured", "no CUDA device" if not torch.cuda.is_available() else "by hand"))
        return rows

    def conditions(self, seconds: float) -> str:
        """Machine, versions, seeds, and how busy the machine was."""
        load = f"; load average at the end {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
        portrait = "" if self.load_config is None else " Rendered: a trained portrait."
        return (
            f"Machine: {machine()}; {self.threads} threads. Versions: {versions(*_PACKAGES)}. "
            f"Seed {self.seed}{'; quick' if self.quick else ''}; {seconds / 60:.0f} minutes{load} (above the number of "
            f"threads, times are too long and only ratios count).{portrait}"
        )


def grown(seconds: list[int], sides: list[int]) -> list[tuple[int, int]]:
    """Lengths and sides to measure: the clip grows at the first side, then the image at the first length."""
    return [(length, sides[0]) for length in seconds] + [(seconds[0], side) for side in sides[1:]]


def write_section(rows: list[Row], peaks: Peaks, conditions: str) -> str:
    """The section of the page, in Markdown."""
    lines = [
        "## Speed and memory",
        "",
        f"Written by `python scripts/benchmarks/bench.py`. {conditions}",
        "",
        f"Machine limits, measured in the same run: STREAM triad {peaks.bytes_per_second / 1e9:.1f} GB/s, gemm "
        f"{peaks.flops / 1e9:.0f} GFLOP/s.",
        "",
        "| measurement | result | compared with | ratio | target |",
        "|---|---|---|---|---|",
        *(f"| {r.measurement} | {r.result} | {r.compared_with} | {r.ratio} | {r.target} |" for r in rows),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(Bench, description=__doc__).main()
